# SPDX-License-Identifier: MIT
"""Ways to start a command, as lines of shell: `$W` stands for what wraps the command (env, strace or aa-fileio), `$P`
for the command and its words, `$D` for a folder of the test's own."""

from __future__ import annotations

from typing import NamedTuple


class Launcher(NamedTuple):
    name: str
    line: str
    shells: tuple[str, ...] = ("bash",)
    program: str = ""
    """What must be installed, beside the shell."""
    new_namespaces: bool = False
    """Each run has other ones: their numbers are not compared."""
    status: str = "0"
    """How the command ends: its status, or -n for signal n."""
    several: bool = False
    """The command runs more than once, side by side."""
    like_strace: frozenset[str] = frozenset()
    """Facts that are those of strace: of a process that has a tracer for its parent."""


BOTH = ("dash", "bash")
#: env becomes the command; of ours, as of strace's, the tracer is the parent, and leads what the launcher made.
LEADS = frozenset(("leads",))

LAUNCHERS = (
    # --- constructs of the shell
    Launcher("plain", "$W $P", BOTH),
    Launcher("arguments", "$W $P '' 'a b' '-x' -- --json '*' \"$(printf '\\303\\251\\377')\"", BOTH),
    Launcher("status", "$W $P", BOTH, status="7"),
    Launcher("killed", "$W $P", BOTH, status="-15"),
    Launcher("aborted", "ulimit -c 0; $W $P", BOTH, status="-6"),
    Launcher("pipe", "echo x | $W $P | cat", BOTH),
    Launcher("pipe of two", "echo x | $W $P | $W $P", BOTH, several=True),
    Launcher("subshell", "( $W $P )", BOTH),
    Launcher("group", "{ $W $P; } 2>/dev/null", BOTH),
    Launcher("background", "$W $P & wait $!", BOTH),
    Launcher("background, job control", "set -m; $W $P & wait $!", BOTH, like_strace=LEADS),
    Launcher("command substitution", "x=$($W $P); echo $?", BOTH),
    Launcher("condition", "if $W $P; then echo yes; else echo no; fi", BOTH, status="3"),
    Launcher("here-document", "$W $P <<E\ntext\nE", BOTH),
    Launcher("redirections", "$W $P </etc/hostname 3>$D/3 4>>$D/4 5<&0 6>&1 7<>$D/7 9</dev/null 8>&2", BOTH),
    Launcher("one open file by two numbers", "exec 3<>$D/both; echo ab >&3; $W $P 4>&3", BOTH),
    Launcher("stdin closed", "$W $P <&-", BOTH),
    Launcher("stdout closed", "$W $P >&-", BOTH),
    Launcher("stderr closed", "$W $P 2>&-", BOTH),
    Launcher("all closed", "$W $P <&- >&- 2>&-", BOTH),
    Launcher("exec", "exec $W $P", BOTH, like_strace=LEADS),
    Launcher("exec with redirections", "exec 5</etc/hostname; exec $W $P >$D/out", BOTH, like_strace=LEADS),
    Launcher("trap '' of the terminal's", "trap '' INT QUIT HUP TSTP TTIN TTOU; $W $P", BOTH),
    Launcher("trap '' PIPE", "trap '' PIPE; $W $P", BOTH),
    Launcher("trap '' XFSZ", "trap '' XFSZ; $W $P", BOTH),
    Launcher("trap '' of others", "trap '' TERM USR1 ALRM WINCH CONT; $W $P", BOTH),
    Launcher("trap with an action", "trap 'echo trapped' USR1 INT PIPE; $W $P", BOTH),
    Launcher("SIGCHLD ignored", "env --ignore-signal=CHLD $W $P", status="5"),
    Launcher("umask 0777", "umask 0777; $W $P", BOTH),
    Launcher("umask 077", "umask 077; $W $P", BOTH),
    Launcher("limits", "ulimit -c 0 -s 4096 -t 1000 -n 512 -f 100000; $W $P"),
    Launcher("a folder that is gone", "mkdir $D/gone; cd $D/gone; rmdir $D/gone; $W $P", BOTH),
    Launcher("process substitution", "$W $P <(echo x) 2>/dev/null"),
    Launcher("process substitution, out", "$W $P > >(cat) 2> >(cat)"),
    Launcher("here-string", "$W $P <<<x 3<<<three"),
    Launcher("a number of the shell's choice", "exec {fd}</etc/hostname; $W $P"),
    Launcher("coprocess", "coproc cat; $W $P 3>&${COPROC[1]}"),
    Launcher("sourced", "echo '$W $P' >$D/script; . $D/script", BOTH),
    Launcher("eval", "eval '$W $P'", BOTH),
    Launcher("pipefail", "set -o pipefail; $W $P | cat; echo $?", status="9"),
    # --- the environment
    Launcher("env -i", "env -i INHERITED_STATUS=2 $W $P", status="2"),
    Launcher("LANG=C", "LANG=C $W $P"),
    Launcher("LC_ALL=C", "LC_ALL=C $W $P"),
    Launcher("no locale at all", "unset LANG LC_ALL LC_CTYPE; $W $P"),
    Launcher("Latin-1", "LC_ALL=en_US.ISO-8859-1 $W $P \"$(printf '\\351')\""),
    Launcher("Python's variables", "PYTHONPATH=$D PYTHONHOME=/nowhere PYTHONWARNINGS=error PYTHONUTF8=0 $W $P"),
    Launcher("a variable twice", "$D/twice $W $P"),
    Launcher("bytes in a variable", "ODD=\"$(printf '\\377\\n\\001')\" $W $P"),
    # --- programs that start others
    Launcher("timeout", "timeout 60 $W $P"),
    Launcher("timeout --foreground", "timeout --foreground 60 $W $P"),
    Launcher("nohup", "nohup $W $P"),
    Launcher("setsid", "setsid -w $W $P", program="setsid", like_strace=LEADS),
    Launcher("nice", "nice -n 7 $W $P"),
    Launcher("ionice", "ionice -c 3 $W $P", program="ionice"),
    Launcher("chrt", "chrt --batch 0 $W $P", program="chrt"),
    Launcher("taskset", "taskset -c 0 $W $P", program="taskset"),
    Launcher("prlimit", "prlimit --nofile=300 --core=0 --stack=16777216 $W $P", program="prlimit"),
    Launcher("choom", "choom -n 100 -- $W $P", program="choom"),
    Launcher("setarch", "setarch -R $W $P", program="setarch"),
    Launcher("xargs -P", "printf 'a\\nb\\n' | xargs -P 2 -n 1 $W $P", several=True),
    Launcher("find -exec", "find /etc/hostname -exec $W $P {} ';'"),
    Launcher("stdbuf", "stdbuf -oL $W $P", program="stdbuf"),
    Launcher("flock", "flock $D/lock $W $P", program="flock"),
    Launcher("env --block-signal", "env --block-signal=USR1,TERM,CHLD,RTMIN $W $P"),
    Launcher("env --ignore-signal", "env --ignore-signal=PIPE,USR2,RTMAX $W $P"),
    Launcher("env --chdir", "env --chdir=$D $W $P"),
    Launcher("make", "printf 'all:\\n\\t@+$W $P\\n' >$D/Makefile; make -s -j2 -f $D/Makefile", program="make"),
    Launcher("start-stop-daemon", "start-stop-daemon --start --exec $(command -v ${W%% *}) -- ${W#* } $P"),
    Launcher("watch of a supervisor", "python3 $D/supervisor.py $W $P", status="6"),
    Launcher("a terminal", 'script -qec "$W $P" /dev/null </dev/null', program="script", like_strace=LEADS),
    Launcher("su", 'su root -c "$W $P"', program="su"),
    Launcher("runuser", "runuser -u root -- $W $P", program="runuser"),
    # --- privileges, limits of them, and namespaces
    Launcher("setpriv --no-new-privs", "setpriv --no-new-privs $W $P", program="setpriv"),
    Launcher("setpriv --bounding-set", "setpriv --bounding-set=-net_raw,-mknod $W $P", program="setpriv"),
    Launcher("setpriv --inh-caps", "setpriv --inh-caps=+net_raw,+sys_time $W $P", program="setpriv"),
    Launcher("setpriv --pdeathsig", "setpriv --pdeathsig USR1 $W $P", program="setpriv"),
    Launcher("groups", "setpriv --groups=5,6,7 --regid 4 $W $P", program="setpriv"),
    Launcher("chroot", "chroot / $W $P"),
    Launcher("a mount namespace", "unshare --mount $W $P", program="unshare", new_namespaces=True),
    Launcher(
        "a pid namespace",
        # env is the first process of it, and so leads; of a tracer the command is the second.
        "unshare --pid --fork --mount-proc sh -c '\"$@\"; exit $?' sh $W $P",
        program="unshare",
        new_namespaces=True,
    ),
    Launcher("other namespaces", "unshare --uts --ipc --net --cgroup $W $P", program="unshare", new_namespaces=True),
    Launcher(
        "a time namespace",
        "unshare --time --boottime 1000000 --monotonic 1000 $W $P",
        program="unshare",
        new_namespaces=True,
    ),
)

SUPERVISOR = """
import signal, subprocess, sys
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
sys.exit(subprocess.Popen(sys.argv[1:], start_new_session=False, pass_fds=[], stdin=subprocess.DEVNULL).wait())
"""

TWICE = """
#include <unistd.h>
int main(int argc, char **argv)
{
	static char *environment[] = { "PATH=/usr/bin:/bin", "A=1", "no value", "A=2", 0 };
	(void)argc;
	return execve(argv[1], argv + 1, environment);
}
"""
