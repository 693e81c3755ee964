# Makes the root of a container in a mount namespace of its own, and becomes its process.
#
# Takes an empty folder for the root; the name of the host; whether the root is "ro" or "rw"; the file that tells the process's id on the host once
# all is made; then what to mount, as triples of a path on the host, a path in the container and "ro" or "rw"; then "--" and the process.
# Always holds: what is mounted is seen by this process and those it starts alone; of the host only /usr and what resolves names is there, to read.
set -eu
root=$1 name=$2 way=$3 started=$4
shift 4
mount -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir dev etc home proc root run sys tmp usr usr/local usr/local/bin var var/tmp
chmod 1777 tmp var/tmp
chmod 700 root
bind() {
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; [ -e "$root$2" ] || : >"$root$2"; fi
  mount --bind -o "$3" "$1" "$root$2"
}
for entry in bin lib lib32 lib64 libx32 sbin; do
  if [ -L "/$entry" ]; then cp -P "/$entry" .; elif [ -d "/$entry" ]; then bind "/$entry" "/$entry" ro; fi
done
for entry in /usr/*; do
  if [ -L "$entry" ]; then cp -P "$entry" usr/; elif [ "$entry" != /usr/local ]; then bind "$entry" "$entry" ro; fi
done
for entry in alternatives ca-certificates group hosts ld.so.cache localtime nsswitch.conf passwd resolv.conf services ssl; do
  if [ -e "/etc/$entry" ]; then cp -RL "/etc/$entry" etc/ 2>/dev/null || :; fi
done
mount -t tmpfs -o mode=755 dev dev
for entry in full null random urandom zero; do bind "/dev/$entry" "/dev/$entry" rw; done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mkdir -m 1777 dev/shm
mount --bind -o ro /sys sys
hostname "$name"
while [ "$1" != -- ]; do
  bind "$1" "$2" "$3"
  shift 3
done
shift
# The file of this file system still counts as the host does.
read -r id _ </proc/self/stat
mount -t proc proc proc
mount -o "remount,$way" "$root"
echo "$id" >"$started.new"
mv "$started.new" "$started"
exec chroot . "$@"
