// SPDX-License-Identifier: MIT
/* The names behind the numbers: read from the tables and the one ABI header, on every platform. */
#include "syscall_table.h"

#include <string.h>

#include "../../bpf/changes.h"
#include "session.h"

const struct aa_call_spec aa_call_specs[AA_CALL_LIMIT] = {
#define AA_X(program, call, function, number_, operation_, origin, ...)                                                \
	[AA_CALL_##call] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
	AA_CALLS(AA_X)
#undef AA_X
#define AA_X(command, number_, operation_, ...)                                                                        \
	[AA_CALL_COUNT + AA_AIO_##command##_ROW] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
		AA_AIOS(AA_X)
#undef AA_X
#define AA_X(opcode, number_, operation_, shape, ...)                                                                  \
	[AA_RING_FIRST + AA_RING_##opcode##_ROW] = { .operation = AA_OPERATION_##operation_, __VA_ARGS__ },
			AA_RINGS(AA_X)
#undef AA_X
#define AA_X(opener, name, via, operation_)                                                                            \
	[AA_OPENERS_FIRST + AA_OPENER_##opener] = { .operation = AA_OPERATION_##operation_,                            \
						    .flags = AA_OPERATION_##operation_ == AA_OPERATION_OPEN },
				AA_OPENERS(AA_X)
#undef AA_X
};

static const char *const aa_opener_names[] = {
#define AA_X(opener, name, ...) #name,
	AA_OPENERS(AA_X)
#undef AA_X
};

static const struct aa_request_info aa_aio_infos[] = {
#define AA_X(command, number_, operation_, ...)                                                                        \
	{ .name = "IOCB_CMD_" #command, .number = number_, .operation = AA_OPERATION_##operation_ },
	AA_AIOS(AA_X)
#undef AA_X
};

static const struct aa_request_info aa_ring_infos[] = {
#define AA_X(opcode, number_, operation_, ...)                                                                         \
	{ .name = "IORING_OP_" #opcode, .number = number_, .operation = AA_OPERATION_##operation_ },
	AA_RINGS(AA_X)
#undef AA_X
};

static const struct aa_call_info aa_call_infos[] = {
#define AA_X(program_, call_, function_, number_, operation_, origin_, ...)                                            \
	{ .name = #call_,                                                                                              \
	  .program = #program_,                                                                                        \
	  .function = "__x64_sys_" #function_,                                                                         \
	  .number = number_,                                                                                           \
	  .operation = AA_OPERATION_##operation_,                                                                      \
	  .origin = origin_ },
	AA_CALLS(AA_X)
#undef AA_X
};

static const struct aa_compat_function aa_compat_function_rows[] = {
#define AA_X(number_, call_, function_, shape_)                                                                        \
	{ .row = AA_CALL_##call_, .number = (number_), .shape = AA_COMPAT_##shape_, .name = "__ia32_" #function_ },
	AA_COMPAT_CALLS(AA_X)
#undef AA_X
#define AA_X(program, call_, function_, number_, ...)                                                                  \
	{ .row = AA_CALL_##call_,                                                                                      \
	  .number = (number_),                                                                                         \
	  .name = (number_) < AA_COMPAT_UNIFIED ? NULL : "__ia32_sys_" #function_ },
		AA_CALLS(AA_X)
#undef AA_X
};

const struct aa_compat_function *aa_compat_function(size_t index)
{
	return index < sizeof(aa_compat_function_rows) / sizeof(aa_compat_function_rows[0]) ?
		       &aa_compat_function_rows[index] :
		       NULL;
}

static const char *const aa_operation_names[] = {
#define AA_X(symbol, name, groups) #name,
	AA_OPERATIONS(AA_X)
#undef AA_X
};

static const unsigned aa_operation_groups[] = {
#define AA_X(symbol, name, groups) groups,
	AA_OPERATIONS(AA_X)
#undef AA_X
};

static const char *const aa_kind_names[] = {
#define AA_X(symbol, name, is_default) #name,
	AA_KINDS(AA_X)
#undef AA_X
};

static const bool aa_kind_defaults[] = {
#define AA_X(symbol, name, is_default) is_default,
	AA_KINDS(AA_X)
#undef AA_X
};

static const char *const aa_path_source_names[] = {
#define AA_X(symbol, name) #name,
	AA_PATH_SOURCES(AA_X)
#undef AA_X
};

const struct aa_call_info *aa_call_info(size_t index)
{
	return index < AA_CALL_COUNT ? &aa_call_infos[index] : NULL;
}

const char *aa_call_name(unsigned call)
{
	if (aa_call_is_aio(call))
		return aa_aio_infos[call - AA_CALL_COUNT].name;
	if (aa_call_is_ring(call))
		return aa_ring_infos[call - AA_RING_FIRST].name;
	if (call >= AA_OPENERS_FIRST)
		return call < AA_CALL_LIMIT ? aa_opener_names[call - AA_OPENERS_FIRST] : NULL;
	return call < AA_CALL_COUNT ? aa_call_infos[call].name : NULL;
}

const struct aa_request_info *aa_aio_info(size_t index)
{
	return index < AA_AIO_COUNT ? &aa_aio_infos[index] : NULL;
}

const struct aa_request_info *aa_ring_info(size_t index)
{
	return index < AA_RING_COUNT ? &aa_ring_infos[index] : NULL;
}

bool aa_call_is_asked(unsigned row, uint64_t operations)
{
	const struct aa_call_spec *spec = &aa_call_specs[row];

	if (spec->when == AA_WHEN_AIO_HIDES)
		return aa_aio_does(operations);
	return spec->announces || (operations >> spec->operation & 1) ||
	       (spec->if_flag && operations >> spec->then_operation & 1);
}

unsigned aa_call_interest(unsigned number, uint64_t operations)
{
	const struct aa_compat_function *compat;
	unsigned interest = 0;

	for (unsigned row = 0; row < AA_CALL_COUNT; row++)
		if ((unsigned)aa_call_infos[row].number == number && aa_call_is_asked(row, operations))
			interest |= AA_INTEREST_NATIVE;
	/* Which call a socketcall is stands in its first argument. */
	for (size_t i = 0; (compat = aa_compat_function(i)); i++)
		if (compat->name && compat->number == number &&
		    (compat->shape == AA_COMPAT_SOCKETCALL || aa_call_is_asked(compat->row, operations)))
			interest |= AA_INTEREST_COMPAT;
	return interest;
}

bool aa_aio_does(uint64_t operations)
{
	for (unsigned call = AA_CALL_COUNT; call < AA_SPEC_COUNT; call++)
		if (operations >> aa_call_specs[call].operation & 1)
			return true;
	return false;
}

unsigned aa_call_operation(unsigned call)
{
	return call < AA_CALL_LIMIT ? aa_call_specs[call].operation : AA_OPERATION_COUNT;
}

enum aa_via { AA_VIA_syscall, AA_VIA_io_uring, AA_VIA_aio, AA_VIA_exec, AA_VIA_kernel };

static const char *const aa_via_names[] = { "syscall", "io_uring", "aio", "exec", "kernel" };

static const enum aa_via aa_opener_vias[] = {
#define AA_X(opener, name, via, ...) AA_VIA_##via,
	AA_OPENERS(AA_X)
#undef AA_X
};

unsigned aa_call_via(unsigned call)
{
	if (call >= AA_OPENERS_FIRST && call < AA_CALL_LIMIT)
		return aa_opener_vias[call - AA_OPENERS_FIRST];
	return aa_call_is_ring(call) ? AA_VIA_io_uring : aa_call_is_aio(call) ? AA_VIA_aio : AA_VIA_syscall;
}

const char *aa_via_name(unsigned via)
{
	return via < sizeof(aa_via_names) / sizeof(aa_via_names[0]) ? aa_via_names[via] : NULL;
}

const char *aa_operation_name(unsigned operation)
{
	return operation < AA_OPERATION_COUNT ? aa_operation_names[operation] : NULL;
}

bool aa_operation_in_group(unsigned operation, const char *group)
{
	unsigned bit = !strcmp(group, "default") ? AA_GROUP_DEFAULT :
		       !strcmp(group, "modify")	 ? AA_GROUP_MODIFY :
		       !strcmp(group, "access")	 ? AA_GROUP_ACCESS :
		       !strcmp(group, "always")	 ? AA_GROUP_ALWAYS :
		       !strcmp(group, "writes")	 ? AA_GROUP_WRITES :
		       !strcmp(group, "in_part") ? AA_GROUP_IN_PART :
						   0;

	return operation < AA_OPERATION_COUNT && aa_operation_groups[operation] & bit;
}

bool aa_event_changes(const struct aa_file_event *event, unsigned other_kind)
{
	const bool has_flags = event->present & AA_FIELD_FLAGS;

	if (event->operation == AA_OPERATION_BLIND_SPOT)
		return event->call == AA_CALL_mmap;
	if (event->operation >= AA_OPERATION_COUNT || !(aa_operation_groups[event->operation] & AA_GROUP_WRITES))
		return false;
	switch (event->operation) {
	case AA_OPERATION_OPEN:
		return !has_flags || AA_OPEN_CHANGES(event->flags);
	case AA_OPERATION_MAP:
		return !has_flags || AA_MAP_CHANGES(event->flags, event->mode);
	case AA_OPERATION_COPY:
		return !AA_KIND_IS_NO_FILE(other_kind);
	default:
		return true;
	}
}

const char *aa_kind_name(unsigned kind)
{
	return kind < AA_KIND_COUNT ? aa_kind_names[kind] : NULL;
}

bool aa_kind_is_default(unsigned kind)
{
	return kind < AA_KIND_COUNT && aa_kind_defaults[kind];
}

const char *aa_path_source_name(unsigned source)
{
	return source < AA_PATH_SOURCE_COUNT ? aa_path_source_names[source] : NULL;
}

const char *aa_path_flag_name(unsigned bit)
{
	static const char *const names[] = { "truncated", "unreadable", "deleted", "other_root", "unreachable" };

	return bit < sizeof(names) / sizeof(names[0]) ? names[bit] : NULL;
}

static const char *const aa_backend_names[] = { "kprobe", "fentry", "tracepoint" };

const char *aa_backend_name(size_t index)
{
	return index < sizeof(aa_backend_names) / sizeof(aa_backend_names[0]) ? aa_backend_names[index] : NULL;
}
