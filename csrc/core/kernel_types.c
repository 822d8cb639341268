// SPDX-License-Identifier: MIT
#include "kernel_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define AA_KINDS 32 /* what struct btf_type has room for */

struct aa_kernel_types {
	char *data;
	size_t bytes;
	const char *types, *names; /* the two sections of the data */
	uint32_t type_bytes, name_bytes;
	uint32_t count;		       /* with number 0, which is void */
	uint32_t *offsets;	       /* of each number; of 0 none */
	uint32_t *numbers;	       /* kind after kind, in each by number */
	uint32_t firsts[AA_KINDS + 1]; /* where a kind's begin in it */
};

static const struct btf_type aa_void;

/* Read into memory that is mapped, or where the kernel lets it (6.16) the file itself. */
static int aa_data_read(struct aa_kernel_types *types, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), code = 0;
	struct stat status;
	size_t have = 0;
	ssize_t got = 1;

	if (fd < 0)
		return errno;
	if (fstat(fd, &status) || status.st_size <= 0) {
		close(fd);
		return EINVAL;
	}
	types->bytes = (size_t)status.st_size;
	types->data = mmap(NULL, types->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (types->data == MAP_FAILED) {
		types->data = mmap(NULL, types->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (types->data == MAP_FAILED)
			code = errno;
		while (!code && have < types->bytes && got) {
			got = read(fd, types->data + have, types->bytes - have);
			if (got >= 0)
				have += (size_t)got;
			else if (errno != EINTR)
				code = errno;
		}
		if (!code && have < types->bytes)
			code = EINVAL;
	}
	close(fd);
	return code;
}

static int aa_sections_find(struct aa_kernel_types *types)
{
	const struct btf_header *header = (const struct btf_header *)types->data;
	uint64_t end = types->bytes;

	if (types->bytes < sizeof(*header) || header->magic != BTF_MAGIC || header->version != BTF_VERSION ||
	    (uint64_t)header->hdr_len + header->type_off + header->type_len > end || header->type_off % 4 ||
	    header->hdr_len % 4 || (uint64_t)header->hdr_len + header->str_off + header->str_len > end ||
	    !header->str_len)
		return EINVAL;
	types->types = types->data + header->hdr_len + header->type_off;
	types->type_bytes = header->type_len;
	types->names = types->data + header->hdr_len + header->str_off;
	types->name_bytes = header->str_len;
	return types->names[0] || types->names[types->name_bytes - 1] ? EINVAL : 0;
}

/* What a type takes; 0: of a kind that is not known, and so where the next one begins is not either. */
static size_t aa_type_bytes(const struct btf_type *type)
{
	size_t bytes = sizeof(*type), count = btf_vlen(type);

	switch (btf_kind(type)) {
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return bytes;
	case BTF_KIND_INT:
		return bytes + sizeof(__u32);
	case BTF_KIND_ARRAY:
		return bytes + sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return bytes + count * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return bytes + count * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return bytes + count * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return bytes + count * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return bytes + sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return bytes + count * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return bytes + sizeof(struct btf_decl_tag);
	default:
		return 0;
	}
}

/* Two passes: how many there are of each kind, and where each is. */
static int aa_types_index(struct aa_kernel_types *types)
{
	uint32_t next[AA_KINDS], at, id;
	size_t bytes;

	types->count = 1;
	for (at = 0; at < types->type_bytes; at += (uint32_t)bytes, types->count++) {
		const struct btf_type *type = (const struct btf_type *)(types->types + at);

		bytes = types->type_bytes - at >= sizeof(*type) ? aa_type_bytes(type) : 0;
		if (!bytes || bytes > types->type_bytes - at)
			return EINVAL;
		types->firsts[btf_kind(type) + 1]++;
	}
	for (unsigned kind = 0; kind < AA_KINDS; kind++) {
		types->firsts[kind + 1] += types->firsts[kind];
		next[kind] = types->firsts[kind];
	}
	types->offsets = calloc(types->count, sizeof(*types->offsets));
	types->numbers = calloc(types->count, sizeof(*types->numbers));
	if (!types->offsets || !types->numbers)
		return ENOMEM;
	for (at = 0, id = 1; id < types->count; id++) {
		const struct btf_type *type = (const struct btf_type *)(types->types + at);

		types->offsets[id] = at;
		types->numbers[next[btf_kind(type)]++] = id;
		at += (uint32_t)aa_type_bytes(type);
	}
	return 0;
}

struct aa_kernel_types *aa_kernel_types_create(const char *path)
{
	struct aa_kernel_types *types = calloc(1, sizeof(*types));
	int code;

	if (!types)
		return NULL;
	types->data = MAP_FAILED;
	code = aa_data_read(types, path);
	if (!code)
		code = aa_sections_find(types);
	if (!code)
		code = aa_types_index(types);
	if (!code)
		return types;
	aa_kernel_types_destroy(types);
	errno = code;
	return NULL;
}

void aa_kernel_types_destroy(struct aa_kernel_types *types)
{
	if (!types)
		return;
	if (types->data != MAP_FAILED)
		munmap(types->data, types->bytes);
	free(types->offsets);
	free(types->numbers);
	free(types);
}

uint32_t aa_kernel_types_count(const struct aa_kernel_types *types)
{
	return types->count;
}

const struct btf_type *aa_kernel_type(const struct aa_kernel_types *types, uint32_t id)
{
	return id && id < types->count ? (const struct btf_type *)(types->types + types->offsets[id]) : &aa_void;
}

const char *aa_kernel_type_name(const struct aa_kernel_types *types, uint32_t offset)
{
	return offset < types->name_bytes ? types->names + offset : "";
}

const uint32_t *aa_kernel_types_of_kind(const struct aa_kernel_types *types, unsigned kind, uint32_t *ret_count)
{
	*ret_count = types->firsts[kind + 1] - types->firsts[kind];
	return types->numbers + types->firsts[kind];
}

uint32_t aa_kernel_types_find(const struct aa_kernel_types *types, const char *name, unsigned kind)
{
	uint32_t count;
	const uint32_t *ids = aa_kernel_types_of_kind(types, kind, &count);

	for (uint32_t i = 0; i < count; i++)
		if (!strcmp(aa_kernel_type_name(types, aa_kernel_type(types, ids[i])->name_off), name))
			return ids[i];
	return 0;
}
