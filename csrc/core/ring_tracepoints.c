// SPDX-License-Identifier: MIT
#include "ring_tracepoints.h"

#include <bpf/btf.h>
#include <stddef.h>
#include <string.h>

#include "kernel_functions.h"
#include "session.h"
#include "syscall_table.h"

/* The prototype of a tracepoint's programs; its first parameter is the kernel's own. NULL: there is no such one. */
static const struct btf_type *aa_tracepoint_prototype(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	if (type && btf_is_typedef(type))
		type = btf__type_by_id(btf, type->type);
	if (type && btf_is_ptr(type))
		type = btf__type_by_id(btf, type->type);
	return type && btf_is_func_proto(type) ? type : NULL;
}

/* Parameter `index` is a pointer: to a structure of that name, or with NULL to anything. */
static bool aa_points_to(const struct btf *btf, const struct btf_type *prototype, unsigned index, const char *name)
{
	const struct btf_type *type;

	if (index >= btf_vlen(prototype))
		return false;
	type = btf__type_by_id(btf, btf_params(prototype)[index].type);
	if (!type || !btf_is_ptr(type))
		return false;
	if (!name)
		return true;
	type = btf__type_by_id(btf, type->type);
	return type && btf_is_struct(type) && !strcmp(btf__name_by_offset(btf, type->name_off), name);
}

/* The value of an enumerator of an enum without a name, which CO-RE does not find; 0: there is none. */
static uint32_t aa_enumerator(const struct btf *btf, const char *name)
{
	for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);

		if (!btf_is_enum(type) || type->name_off)
			continue;
		for (unsigned i = 0; i < btf_vlen(type); i++) {
			if (!strcmp(btf__name_by_offset(btf, btf_enum(type)[i].name_off), name))
				return (uint32_t)btf_enum(type)[i].val;
		}
	}
	return 0;
}

/* Whether a structure has a member of that name itself. */
static bool aa_has_own_member(const struct btf *btf, const struct btf_type *type, const char *name)
{
	for (unsigned i = 0; i < btf_vlen(type); i++) {
		if (!strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), name))
			return true;
	}
	return false;
}

/* The same, or in one of its parts without a name. */
static bool aa_has_member(const struct btf *btf, const struct btf_type *type, const char *name)
{
	for (unsigned i = 0; i < btf_vlen(type); i++) {
		const struct btf_member *member = &btf_members(type)[i];
		const struct btf_type *part = btf__type_by_id(btf, member->type);

		if (!member->name_off && btf_is_composite(part) && aa_has_own_member(btf, part, name))
			return true;
	}
	return aa_has_own_member(btf, type, name);
}

void aa_ring_tracepoints_find(const struct btf *btf, struct aa_ring_tracepoints *ret_tracepoints)
{
	const struct btf_type *submit, *complete;
	struct aa_ring_tracepoints found = { 0 };
	int ring;

	*ret_tracepoints = found;
	complete = aa_tracepoint_prototype(btf, "btf_trace_io_uring_complete");
	if (!complete || !aa_points_to(btf, complete, 2, NULL))
		return;
	if (btf_vlen(complete) == 4 && aa_points_to(btf, complete, 3, "io_uring_cqe"))
		found.complete_program = "aa_ring_complete";
	else if (btf_vlen(complete) == 8 && aa_points_to(btf, complete, 1, NULL))
		found.complete_program = "aa_ring_complete_first";
	else
		return;
	submit = aa_tracepoint_prototype(btf, "btf_trace_io_uring_submit_req");
	if (submit && aa_points_to(btf, submit, 1, "io_kiocb")) {
		found.submit_program = "aa_ring_submit";
		found.submit = "io_uring_submit_req";
	} else {
		submit = aa_tracepoint_prototype(btf, "btf_trace_io_uring_submit_sqe");
		if (!submit || !aa_points_to(btf, submit, 1, "io_kiocb"))
			return;
		found.submit_program = "aa_ring_submit_first";
		found.submit = "io_uring_submit_sqe";
	}
	submit = aa_tracepoint_prototype(btf, "btf_trace_io_uring_req_failed");
	if (!submit || !aa_points_to(btf, submit, 1, NULL) || !aa_points_to(btf, submit, 2, "io_kiocb"))
		return;
	found.overflow = aa_tracepoint_prototype(btf, "btf_trace_io_uring_cqe_overflow") != NULL;
	ring = btf__find_by_name_kind(btf, "io_ring_ctx", BTF_KIND_STRUCT);
	if (ring > 0 && aa_has_member(btf, btf__type_by_id(btf, (uint32_t)ring), "int_flags"))
		found.compat_flag = aa_enumerator(btf, "IO_RING_F_COMPAT");
	/* 6.0 gave each operation a structure of its own inside the request. */
	if (aa_kernel_has_struct(btf, "io_cmd_data") && aa_kernel_has_struct(btf, "io_rw"))
		*ret_tracepoints = found;
}

bool aa_rings_do(uint64_t operations)
{
	for (unsigned row = AA_RING_FIRST; row < AA_OPENERS_FIRST; row++) {
		const struct aa_call_spec *spec = &aa_call_specs[row];

		if (spec->operation == AA_OPERATION_BLIND_SPOT)
			continue;
		if (operations >> spec->operation & 1 || (spec->if_flag && operations >> spec->then_operation & 1))
			return true;
	}
	return false;
}
