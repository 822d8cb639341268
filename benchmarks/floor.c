// SPDX-License-Identifier: MIT
/*
 * floor OBJECT PID NUMBER PROGRAM…: attaches those programs, says "ready", reads the ring every 5 ms until its stdin
 * ends, and prints "read <records> full <records> instructions <of each program>".
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long records;

static int take(void *context, void *data, size_t bytes)
{
	records++;
	return 0;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc > 4 ? bpf_object__open(argv[1]) : NULL;
	struct {
		unsigned tgid;
		unsigned pad;
		unsigned long long number;
	} * settings;
	struct pollfd stdin_ends = { .fd = 0, .events = POLLIN };
	struct bpf_program *program;
	struct ring_buffer *ring;
	unsigned long long full;
	unsigned zero = 0;
	size_t bytes;

	if (!object)
		return 2;
	settings = (void *)bpf_map__initial_value(bpf_object__find_map_by_name(object, ".rodata"), &bytes);
	settings->tgid = (unsigned)atoi(argv[2]);
	settings->number = (unsigned long long)atoi(argv[3]);
	bpf_object__for_each_program (program, object) {
		bpf_program__set_autoload(program, false);
		for (int i = 4; i < argc; i++)
			if (!strcmp(argv[i], bpf_program__name(program)))
				bpf_program__set_autoload(program, true);
	}
	if (bpf_object__load(object))
		return 3;
	ring = ring_buffer__new(bpf_map__fd(bpf_object__find_map_by_name(object, "ring")), take, NULL, NULL);
	bpf_object__for_each_program (program, object)
		if (bpf_program__autoload(program) && !bpf_program__attach(program))
			return 4;
	puts("ready");
	fflush(stdout);
	do
		ring_buffer__consume(ring);
	while (poll(&stdin_ends, 1, 5) == 0);
	ring_buffer__consume(ring);
	bpf_map_lookup_elem(bpf_map__fd(bpf_object__find_map_by_name(object, ".bss")), &zero, &full);
	printf("read %llu full %llu instructions", records, full);
	bpf_object__for_each_program (program, object)
		if (bpf_program__autoload(program))
			printf(" %zu", bpf_program__insn_cnt(program));
	puts("");
	return 0;
}
