#!/bin/busybox sh
# PID 1 of a guest of `cargo xtask kernels`: runs each test of /plumbline/tests in a process of its
# own, tells on the second serial line how it ended, and powers the machine off.
# The console has the kernel's messages; a panic ends the machine, which the host sees.
export PATH=/bin HOME=/ PLUMBLINE_REQUIRE_KERNEL=1 PLUMBLINE_SKIPS=/tmp/skips
# Emulated, everything takes longer.
export PLUMBLINE_SLOWNESS=5
/bin/busybox --install -s /bin 2>/dev/null

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 none /sys/fs/cgroup
# ip(8) keeps the names of network namespaces there.
mkdir -p /run && mount -t tmpfs run /run
for module in inet_diag tcp_diag unix_diag veth; do
    [ -e /modules/$module.ko ] || unxz /modules/$module.ko.xz
    insmod /modules/$module.ko
done
# Names and addresses as every host has them.
ip link set lo up
ulimit -n 20000
exec 3>/dev/ttyS1

echo "booted $(uname -r)" >&3
while read -r bound name; do
    rm -f $PLUMBLINE_SKIPS
    begin=$(cut -d ' ' -f 1 /proc/uptime)
    NEXTEST_TEST_NAME=$name timeout -s KILL "$bound" \
        /plumbline/it --exact "$name" --nocapture </dev/null >/tmp/log 2>&1 3>&-
    status=$?
    end=$(cut -d ' ' -f 1 /proc/uptime)
    seconds=$(echo "$begin $end" | awk '{ printf "%.1f", $2 - $1 }')
    if [ $status = 137 ]; then
        echo "failed $name $seconds killed after $bound s" >&3
    elif [ $status != 0 ]; then
        echo "failed $name $seconds status $status" >&3
    elif [ -s $PLUMBLINE_SKIPS ]; then
        echo "skipped $name $seconds $(head -n 1 $PLUMBLINE_SKIPS | cut -f 2)" >&3
    else
        echo "ok $name $seconds" >&3
    fi
    [ $status = 0 ] || tail -n 60 /tmp/log | sed 's/^/| /' >&3
    # What a killed test has left behind: everything but this shell.
    kill -9 -1 2>/dev/null
done </plumbline/tests
echo "end" >&3
poweroff -f
