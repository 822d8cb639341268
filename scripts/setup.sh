#!/bin/sh
# Installs what this project needs and this machine lacks; says nothing and takes no time when nothing is missing.
#
#   scripts/setup.sh [build] [test] [fuzz] [soak] [kernels] [lint]      default: build
#
# Debian and its kin only. Elsewhere it names what is missing and stops.
set -eu

PATH=$PATH:/usr/sbin:/sbin # bpftool lives there, out of an ordinary user's sight

python=${PYTHON:-python3}
missing=
wanted=

# A package is asked for only if the thing it brings is not there: it may have come another way.
lacks() {
    missing="$missing $1"
}

need_command() {
    command -v "$1" >/dev/null 2>&1 || lacks "$2"
}

need_header() {
    # Without a compiler no header can be looked up; the compiler is then being installed, and so is this.
    echo "#include <$1>" | ${CC:-gcc} -E - >/dev/null 2>&1 || lacks "$2"
}

# What not every distribution has, and tests do without: installed where it is offered, and no error where it is not.
wants_command() {
    command -v "$1" >/dev/null 2>&1 || wanted="$wanted $2"
}

# Which of those are offered, by the lists that apt has; a fresh container has none yet.
add_wanted() {
    [ -n "$wanted" ] && command -v apt-cache >/dev/null 2>&1 || return 0
    find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | grep -q . || update
    for package in $wanted; do
        if apt-cache show "$package" >/dev/null 2>&1; then lacks "$package"; fi
    done
}

check_python() {
    if ! command -v "$python" >/dev/null 2>&1; then
        lacks python3
        lacks python3-venv
        lacks python3-dev
        return
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "setup: $("$python" --version) is too old: aa_fileio needs Python 3.11 or newer (PYTHON=… names another)" >&2
        exit 1
    fi
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || lacks python3-venv
    [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || lacks python3-dev
}

check() {
    missing=
    wanted=
    for group in "$@"; do
        case $group in
        build)
            check_python
            need_command gcc gcc
            need_command clang clang
            need_command llvm-strip llvm
            need_command bpftool bpftool
            need_command pkg-config pkg-config
            need_header stdio.h libc6-dev
            need_header bpf/libbpf.h libbpf-dev
            need_header libelf.h libelf-dev
            need_header zlib.h zlib1g-dev
            ;;
        test)
            need_command make make
            need_command strace strace
            # File systems that path rules are tried on.
            need_command mkfs.btrfs btrfs-progs
            need_command mkfs.xfs xfsprogs
            need_command mksquashfs squashfs-tools
            need_command mkfs.erofs erofs-utils
            # Users of rings that know nothing of us.
            need_command fio fio
            need_header liburing.h liburing-dev
            # What the oracle runs under strace, beside gcc and Python.
            need_command git git
            need_command tar tar
            need_command gzip gzip
            need_command find findutils
            # Other compilers for the kernel side: see COMPILERS of the Makefile.
            wants_command clang-16 clang-16
            wants_command clang-19 clang-19
            wants_command clang-22 clang-22
            ;;
        fuzz)
            # libFuzzer and the sanitizers of the clang that builds the kernel side.
            version=$(clang -dumpversion 2>/dev/null || echo 14)
            [ -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a 2>/dev/null || true)" ] ||
                [ -e "$(clang -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-x86_64.a" ] ||
                lacks "libclang-rt-${version%%.*}-dev"
            ;;
        soak)
            # Where a distribution has none, the stage that needs it says so.
            wants_command python3-dbg python3-dbg
            need_command setarch util-linux
            ;;
        bench)
            # The peers, each of which has its row only where it is there.
            wants_command perf linux-perf
            wants_command bpftrace bpftrace
            wants_command opensnoop libbpf-tools
            wants_command fatrace fatrace
            wants_command fio fio
            "$python" -c 'import bcc' 2>/dev/null || wanted="$wanted python3-bpfcc"
            # bcc compiles for the kernel that it runs on, a guest's.
            ls -d /lib/modules/*/build >/dev/null 2>&1 || wanted="$wanted linux-headers-amd64"
            ;;
        kernels)
            need_command qemu-system-x86_64 qemu-system-x86
            need_command busybox busybox-static
            need_command xz xz-utils
            need_command zstd zstd
            need_command setpriv util-linux
            [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || lacks debian-archive-keyring
            ;;
        lint)
            need_command clang-format clang-format
            need_command clang-tidy clang-tidy
            need_command shellcheck shellcheck
            ;;
        *)
            echo "setup: unknown group $group" >&2
            exit 2
            ;;
        esac
    done
}

[ $# -gt 0 ] || set -- build
if [ "$(id -u)" -eq 0 ]; then
    as_root=
else
    as_root=sudo
fi
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}
update() {
    # A foreign source that does not answer must not stop what Debian's own has.
    apt update || echo "setup: apt-get update reported errors; going on with what it has" >&2
}

check "$@"
[ -n "$missing$wanted" ] || exit 0
if [ -n "$missing" ] && ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: missing, by the names of Debian's packages:$missing" >&2
    echo "setup: there is no apt-get here: install them the way this system does, then run make again" >&2
    exit 1
fi
add_wanted
[ -n "$missing" ] || exit 0
if [ -n "$as_root" ] && ! command -v sudo >/dev/null 2>&1; then
    echo "setup: missing:$missing; installing them needs root or sudo" >&2
    exit 1
fi

echo "setup: installing$missing"
update
add_wanted # once more: the new lists may offer what the old ones did not
# Not quiet enough for a green build, and all of it wanted when it fails.
log=$(mktemp)
# shellcheck disable=SC2086 # a list of words
if ! apt install --yes --no-install-recommends $missing >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo "setup: apt-get could not install$missing" >&2
    exit 1
fi
rm -f "$log"

check "$@"
if [ -n "$missing" ]; then
    echo "setup: still not usable after installing:$missing" >&2
    echo "setup: (a Python that is not Debian's brings its own headers and venv module)" >&2
    exit 1
fi
