/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Who is at the other end of a connection: what goes from one watched process to another one leaves nothing unseen.
 *
 * A connected socket of AF_UNIX keeps the process of the other end: for a socketpair who made it, for a connection who
 * listened or who connected (init_peercred(), copy_peercred()). If that one is or was watched, then so is whoever holds
 * the other end now: a fork's child is watched, and an end that was given away since the trace began was announced when
 * it was. Who has held it from before the trace and is not watched is in aa_outside.
 *
 * Not so of datagrams: such a socket can be connected anew, and keeps what it knew of the first other end.
 */
#ifndef AA_HANDOVER_BPF_H
#define AA_HANDOVER_BPF_H

#include "kernel.bpf.h"
#include "filter.bpf.h"

#define AA_OUTSIDE_MAX 16384
#define SOCK_STREAM 1
#define SOCK_SEQPACKET 5

/*
 * Sockets, and addresses that are listened at, which an untraced process had when the trace began. Preallocated: 5.10
 * prints a warning for a tracing program that uses another kind of hash.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, AA_OUTSIDE_MAX);
	__type(key, __u64);
	__type(value, __u8);
} aa_outside SEC(".maps");
__u32 aa_outside_is_full = 0; /* nothing is known of those that found no room: then nobody is taken for watched */

/* Whether a struct pid is, or was, a watched process's. */
static __always_inline bool aa_pid_is_watched(struct pid *pid)
{
	struct hlist_node *link = pid ? aa_read(pid, tasks[AA_PIDTYPE_PID].first) : NULL;
	__u64 key = (__u64)(long)pid;
	struct task_struct *task;

	if (!pid)
		return false;
	if (link) {
		task = (void *)link - bpf_core_field_offset(struct task_struct, pid_links);
		if (aa_is_watched((__u64)aa_read(task, tgid) << 32 | aa_read(task, pid)))
			return true;
	}
	return bpf_map_lookup_elem(&aa_gone, &key);
}

static __always_inline bool aa_is_outside(const void *socket_or_address)
{
	__u64 key = (__u64)(long)socket_or_address;

	return key && bpf_map_lookup_elem(&aa_outside, &key);
}

/* A connected socket of AF_UNIX that cannot be connected anew; or NULL. */
static __always_inline struct sock *aa_connected_of(struct file *file)
{
	struct socket *socket;
	struct sock *sock;
	__u16 type;

	if (!file || (aa_read(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = aa_read((struct file___socket *)file, private_data);
	type = aa_read(socket, type);
	if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
		return NULL;
	sock = aa_read(socket, sk);
	return aa_read(sock, __sk_common.skc_family) == AF_UNIX ? sock : NULL;
}

/* Whether the other end of a connection is a watched process's, for certain. */
static __always_inline bool aa_other_end_is_watched(struct file *file)
{
	struct sock *sock = aa_connected_of(file), *other = sock ? aa_read((struct unix_sock *)sock, peer) : NULL;

	if (!other || aa_config.scope == AA_SCOPE_SINGLE || *(volatile __u32 *)&aa_outside_is_full)
		return false;
	if (aa_is_outside(other) || aa_is_outside(aa_read((struct unix_sock *)other, addr)))
		return false;
	return aa_pid_is_watched(aa_read(sock, sk_peer_pid));
}

/*
 * A socket that a process has which is not watched, when the trace begins: noted if the other end could be taken for
 * one whose other end is watched.
 */
static __always_inline void aa_note_outside(struct file *file)
{
	struct sock *sock = aa_connected_of(file), *other;
	__u8 one = 1;
	__u64 key;

	if (!sock)
		return;
	other = aa_read((struct unix_sock *)sock, peer);
	key = (__u64)(long)sock;
	if (other) {
		if (!aa_pid_is_watched(aa_read(other, sk_peer_pid)))
			return;
	} else if (aa_read((struct unix_sock *)sock, addr) && aa_read(sock, sk_peer_pid)) {
		/* It listens: what comes of it has its address. */
		if (!aa_pid_is_watched(aa_read(sock, sk_peer_pid)))
			return;
		key = (__u64)(long)aa_read((struct unix_sock *)sock, addr);
	}
	if (bpf_map_update_elem(&aa_outside, &key, &one, BPF_ANY))
		aa_outside_is_full = 1;
}

#endif
