#!/bin/busybox sh
# PID 1 on the host's root: runs the command, tells the host how it ended, switches the machine off.
# shellcheck shell=dash

guest=/run/aa-guest
output=/dev/vport0p1
control=/dev/vport0p2

hostname aa-guest
ip link set lo up
read -r uptime _ </proc/uptime

# A pipe, not the port itself: a port can be opened once only, so a command that opens /dev/stderr would get EBUSY.
mkfifo $guest/output
(
    cat <$guest/output >$output
    : >$guest/drained
) &

echo "<1>aa_fileio guest: command starts" >/dev/kmsg
echo "ready $uptime" >$control
# Its own session, so that nothing it does to its process group reaches this shell.
setsid sh $guest/command >$guest/output 2>&1 </dev/null
status=$?

# A daemon left behind may hold the pipe for ever; what the command itself wrote is through long before this ends.
tries=0
while [ ! -e $guest/drained ] && [ $tries -lt 30 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
echo "<1>aa_fileio guest: command ended with $status" >/dev/kmsg
echo "exit $status" >$control
sync
poweroff -f
