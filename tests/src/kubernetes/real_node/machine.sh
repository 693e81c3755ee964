# Becomes a machine of its own, as far as namespaces make one, with containerd on it; then runs a program on it.
#
# Takes the folder of the machine, which holds containerd.toml; its host name; its address; then the program. Runs as the first process of its
# namespaces. Always holds: what is mounted, made and set here is gone with its processes; it ends when containerd or the program does.
set -eu
folder=$1 name=$2 address=$3
shift 3
mount -t proc proc /proc
# What only lies under another mount is found by those who look for cgroups.
umount --recursive /sys
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
while IFS=: read -r _ kinds _; do
  case $kinds in
    "") continue ;;
    name=*) how=none,$kinds ;;
    *) how=$kinds ;;
  esac
  mkdir "/sys/fs/cgroup/${kinds#name=}"
  mount -t cgroup -o "$how" cgroup "/sys/fs/cgroup/${kinds#name=}"
done </proc/self/cgroup
# A kubelet sets these for the whole machine. Here it sets copies.
for setting in kernel/keys/root_maxbytes kernel/keys/root_maxkeys kernel/panic kernel/panic_on_oops vm/overcommit_memory vm/panic_on_oom; do
  mkdir -p "$folder/settings/${setting%/*}"
  cat "/proc/sys/$setting" >"$folder/settings/$setting"
  mount --bind "$folder/settings/$setting" "/proc/sys/$setting"
done
for place in var/lib var/log run; do
  mkdir -p "$folder/$place"
  mount --bind "$folder/$place" "/$place"
done
hostname "$name"
ip link set lo up
ip link add pods type bridge
ip address add "$address/24" dev pods
ip link set pods up
containerd --config "$folder/containerd.toml" >"$folder/containerd.log" 2>&1 &
containerd=$!
until [ -S /run/containerd/containerd.sock ] || ! kill -0 $containerd 2>/dev/null; do sleep 0.1; done
"$@" &
program=$!
# Between two looks the shell waits, for whatever lost its parent, too.
while kill -0 $containerd 2>/dev/null && kill -0 $program 2>/dev/null; do sleep 0.5; done
echo "containerd, or what was started beside it, has ended"
exit 1
