// SPDX-License-Identifier: MIT
#include "probe_object.h"

#include <errno.h>
#include <stdlib.h>

#include "../../bpf/fileio_abi.h"

#include "fileio.skel.h"
#include "fileio_direct.skel.h"

struct fileio_bpf *aa_probe_object_open(bool direct)
{
	struct fileio_bpf *object = calloc(1, sizeof(*object));
	int result;

	if (!object)
		return NULL;
	result = fileio_bpf__create_skeleton(object);
	/* The same programs and maps, so that one skeleton fits both. */
	if (!result && direct)
		object->skeleton->data = fileio_direct_bpf__elf_bytes(&object->skeleton->data_sz);
	if (!result)
		result = bpf_object__open_skeleton(object->skeleton, NULL);
	if (!result)
		return object;
	fileio_bpf__destroy(object);
	errno = -result;
	return NULL;
}
