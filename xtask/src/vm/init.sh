#!/bin/sh
# The first process of a machine of `cargo xtask test vm`: runs the tests one after the
# other, says on the second serial line how they ended, and switches off.
PATH=/bin
/bin/busybox mkdir -p /applets
/bin/busybox --install -s /applets
PATH=/bin:/applets
export PATH

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null

for module in /modules/*.ko; do
    insmod "$module" || echo "vm: cannot load $module"
done
# Before Linux 5.11 the memory of maps counts as locked.
ulimit -l unlimited
ulimit -n 65536
ip link set lo up

GUARD_KERNEL=$(cat /etc/kernel)
export GUARD_KERNEL
for tests in /tests/*; do
    echo "vm: begins ${tests##*/}"
    # Tests of speed and of endurance say nothing where the processor is imitated.
    "$tests" --test-threads=2 --skip scale:: --skip in_time --skip quick --skip nobody_passes
    echo "vm: ended ${tests##*/} with $?"
done
echo "vm: done"
poweroff -f
