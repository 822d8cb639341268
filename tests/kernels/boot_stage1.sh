#!/bin/busybox sh
# PID 1 in the initramfs: brings the host's root file system up and hands over to boot_stage2.sh.
# Debian's static busybox runs its own applets without a search in PATH, by way of /proc/self/exe.
# shellcheck shell=dash

stop() {
    echo "<0>aa_fileio guest: boot failed: $*" >/dev/kmsg
    poweroff -f
}

/bin/busybox mkdir -p /proc /sys /dev /lower /rw /root_view /new
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev || mknod /dev/kmsg c 1 11

while read -r module; do
    insmod "/modules/$module" || stop "insmod $module"
done </modules/order

# The lower side never changes under a guest as far as a guest can tell, so it may cache what it has read: without
# that every import of a Python module is dozens of round trips through an emulated CPU.
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose hostroot /lower || stop "mount the host's root"
mount -t tmpfs -o mode=0755 tmpfs /rw
mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new || stop "mount the overlay"

# A second view, without the mounts below, so that a checkout that lies under /tmp or /run can be shown again there.
mount --bind /new /root_view

mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs devtmpfs /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /new/dev/shm
mount -t tmpfs -o mode=1777 tmpfs /new/tmp
mount -t tmpfs -o mode=0755 tmpfs /new/run
mount -t tracefs tracefs /new/sys/kernel/tracing || stop "mount tracefs"
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t bpf bpf /new/sys/fs/bpf
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup

# What udev would make.
ln -sf /proc/self/fd /new/dev/fd
ln -sf /proc/self/fd/0 /new/dev/stdin
ln -sf /proc/self/fd/1 /new/dev/stdout
ln -sf /proc/self/fd/2 /new/dev/stderr

while read -r kept; do
    mkdir -p "/new$kept"
    mount --bind "/root_view$kept" "/new$kept" || stop "show $kept"
done </guest/keep
umount /root_view

mkdir -p /new/run/aa-results /new/run/aa-guest
mount -t 9p -o trans=virtio,version=9p2000.L,rw,msize=524288,cache=none results /new/run/aa-results ||
    stop "mount the results"
cp /bin/busybox /guest/stage2 /guest/command /new/run/aa-guest/

umount /sys /dev /proc
exec /bin/busybox switch_root /new /run/aa-guest/busybox sh /run/aa-guest/stage2
