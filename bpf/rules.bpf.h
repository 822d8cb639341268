/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Path rules, as far as they can be applied before an event is sent: what csrc/core/path_rules.c would leave out for
 * certain. Whatever is not sure goes up and is decided there. The core has put the rules here in the form of a walk,
 * the components from the last to the first, each with its NUL: so that a path lies below a directory when its walk
 * ends in the directory's.
 */
#ifndef AA_RULES_BPF_H
#define AA_RULES_BPF_H

#include "kernel.bpf.h"
#include "path.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* the core makes room where there are rules */
	__type(key, struct aa_rule_name);
	__type(value, struct aa_rule_bits);
} aa_rule_names SEC(".maps");

/* In the upper half of what is found. */
#define AA_RULES_NAMED(lists) ((__u32)(lists) << 16)

/* The lists of which the name's last `length` bytes (a constant), which begin at `at`, are a rule. */
static __always_inline __u32 aa_rules_of_end(struct aa_scratch *scratch, __u64 at, __u32 length, bool is_whole)
{
	const struct aa_rule_bits *bits;
	char before = 0;

	__builtin_memset(&scratch->rule, 0, sizeof(scratch->rule));
	scratch->rule.length = length;
	bpf_probe_read_kernel(scratch->rule.walk, length, scratch->data + at);
	bits = bpf_map_lookup_elem(&aa_rule_names, &scratch->rule);
	if (!bits)
		return 0;
	if (is_whole)
		return bits->below | bits->whole | AA_RULES_NAMED(bits->named);
	/* "/x/etc" is not "/etc". */
	bpf_probe_read_kernel(&before, sizeof(before), scratch->data + at - 1);
	return before ? 0 : bits->below;
}

/*
 * Whether they leave out what the scratch record of that number holds: what was walked last is the first name. A
 * function of its own, for its loop; and by number, for 6.1 takes no key of a map from memory that a function was
 * given.
 */
__noinline int aa_rules_leave_out(__u32 slot)
{
	struct aa_scratch *scratch = aa_scratch_at(slot);
	__u32 bytes, found = aa_config.rules_of_all, i;

	if ((!aa_config.rule_lists && !aa_config.rules_name) || !scratch)
		return false;
	bytes = scratch->name[0].walk_bytes;
	if (scratch->walk[0] != AA_WALK_OBJECT || scratch->walk[1] != AA_WALK_NONE || scratch->name[1].has_raw ||
	    scratch->source[1] != AA_PATH_SOURCE_NONE ||
	    (scratch->source[0] != AA_PATH_SOURCE_FILE && scratch->source[0] != AA_PATH_SOURCE_DENTRY &&
	     scratch->source[0] != AA_PATH_SOURCE_FD_AT_RETURN) ||
	    (scratch->flags[0] | scratch->flags[1]) & (AA_PATH_TRUNCATED | AA_PATH_UNREADABLE | AA_PATH_UNREACHABLE) ||
	    scratch->facts[0].kind & AA_KIND_PLACELESS || scratch->event.record.operation == AA_OPERATION_BLIND_SPOT ||
	    (__u32)bpf_get_current_pid_tgid() == aa_control.canary_tid)
		return scratch->is_unasked;
	for (i = 0; i < AA_RULE_LENGTHS; i++) {
		__u32 length = aa_config.rule_lengths[i];

		if (!length)
			break;
		if (length <= bytes && length <= AA_RULE_WALK_BYTES)
			found |= aa_rules_of_end(scratch, scratch->start + bytes - length, length, length == bytes);
	}
	if (scratch->is_unasked)
		return !(found & (AA_RULES_NAMED(AA_RULE_BIT(WATCH) | AA_RULE_BIT(SENSITIVE))));
	if (scratch->facts[0].is_known & AA_FILE_MAY_BE_OF_RULES(AA_RULE_BIT(WATCH) | AA_RULE_BIT(SENSITIVE)))
		return false;
	if (scratch->facts[0].is_known & AA_FILE_OF_RULES(AA_RULE_BIT(WATCH)))
		found |= AA_RULE_BIT(WATCH);
	if (scratch->facts[0].is_known & AA_FILE_OF_RULES(AA_RULE_BIT(SENSITIVE)))
		found |= AA_RULE_BIT(SENSITIVE);
	if (found & AA_RULE_BIT(SENSITIVE))
		return false;
	if (found & AA_RULE_BIT(IGNORE))
		return true;
	return aa_config.rule_lists & AA_RULE_BIT(WATCH) && !(found & AA_RULE_BIT(WATCH));
}

#endif
