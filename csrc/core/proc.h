/* SPDX-License-Identifier: MIT */
/* Whether /proc can be asked about a process by the number that this process has for it. */
#ifndef AA_FILEIO_PROC_H
#define AA_FILEIO_PROC_H

enum aa_proc {
	AA_PROC_OURS,
	AA_PROC_FOREIGN, /* of another pid namespace: a number there is another process's */
	AA_PROC_MISSING, /* not mounted */
};

enum aa_proc aa_proc_look(void);

#endif
