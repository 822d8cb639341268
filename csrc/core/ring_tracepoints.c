// SPDX-License-Identifier: MIT
#include "ring_tracepoints.h"

#include <stddef.h>
#include <string.h>

#include "kernel_functions.h"
#include "kernel_types.h"
#include "session.h"
#include "syscall_table.h"

/* The prototype of a tracepoint's programs; its first parameter is the kernel's own. NULL: there is no such one. */
static const struct btf_type *aa_tracepoint_prototype(const struct aa_kernel_types *types, const char *name)
{
	const struct btf_type *type = aa_kernel_type(types, aa_kernel_types_find(types, name, BTF_KIND_TYPEDEF));

	if (btf_is_typedef(type))
		type = aa_kernel_type(types, type->type);
	if (btf_is_ptr(type))
		type = aa_kernel_type(types, type->type);
	return btf_is_func_proto(type) ? type : NULL;
}

/* Parameter `index` is a pointer: to a structure of that name, or with NULL to anything. */
static bool aa_points_to(const struct aa_kernel_types *types, const struct btf_type *prototype, unsigned index,
			 const char *name)
{
	const struct btf_type *type;

	if (index >= btf_vlen(prototype))
		return false;
	type = aa_kernel_type(types, btf_params(prototype)[index].type);
	if (!btf_is_ptr(type))
		return false;
	if (!name)
		return true;
	type = aa_kernel_type(types, type->type);
	return btf_is_struct(type) && !strcmp(aa_kernel_type_name(types, type->name_off), name);
}

/* The value of an enumerator of an enum without a name, which CO-RE does not find; 0: there is none. */
static uint32_t aa_enumerator(const struct aa_kernel_types *types, const char *name)
{
	uint32_t count;
	const uint32_t *ids = aa_kernel_types_of_kind(types, BTF_KIND_ENUM, &count);

	for (uint32_t i = 0; i < count; i++) {
		const struct btf_type *type = aa_kernel_type(types, ids[i]);

		for (unsigned j = 0; !type->name_off && j < btf_vlen(type); j++) {
			if (!strcmp(aa_kernel_type_name(types, btf_enum(type)[j].name_off), name))
				return (uint32_t)btf_enum(type)[j].val;
		}
	}
	return 0;
}

void aa_ring_tracepoints_find(const struct aa_kernel_types *types, struct aa_ring_tracepoints *ret_tracepoints)
{
	const struct btf_type *submit, *complete;
	struct aa_ring_tracepoints found = { 0 };

	*ret_tracepoints = found;
	complete = aa_tracepoint_prototype(types, "btf_trace_io_uring_complete");
	if (!complete || !aa_points_to(types, complete, 2, NULL))
		return;
	if (btf_vlen(complete) == 4 && aa_points_to(types, complete, 3, "io_uring_cqe"))
		found.complete_program = "aa_ring_complete";
	else if (btf_vlen(complete) == 8 && aa_points_to(types, complete, 1, NULL))
		found.complete_program = "aa_ring_complete_first";
	else
		return;
	submit = aa_tracepoint_prototype(types, "btf_trace_io_uring_submit_req");
	if (submit && aa_points_to(types, submit, 1, "io_kiocb")) {
		found.submit_program = "aa_ring_submit";
		found.submit = "io_uring_submit_req";
	} else {
		submit = aa_tracepoint_prototype(types, "btf_trace_io_uring_submit_sqe");
		if (!submit || !aa_points_to(types, submit, 1, "io_kiocb"))
			return;
		found.submit_program = "aa_ring_submit_first";
		found.submit = "io_uring_submit_sqe";
	}
	submit = aa_tracepoint_prototype(types, "btf_trace_io_uring_req_failed");
	if (!submit || !aa_points_to(types, submit, 1, NULL) || !aa_points_to(types, submit, 2, "io_kiocb"))
		return;
	found.overflow = aa_tracepoint_prototype(types, "btf_trace_io_uring_cqe_overflow") != NULL;
	if (aa_kernel_has_member(types, "io_ring_ctx", "int_flags"))
		found.compat_flag = aa_enumerator(types, "IO_RING_F_COMPAT");
	/* 6.0 gave each operation a structure of its own inside the request. */
	if (aa_kernel_has_struct(types, "io_cmd_data") && aa_kernel_has_struct(types, "io_rw"))
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
