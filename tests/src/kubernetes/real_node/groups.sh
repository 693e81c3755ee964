# Makes cgroups for a machine of its own below this process's, and starts it in them, in namespaces of its own.
#
# Takes the folder of the machine; the file that tells whoever cleans up which cgroups were made; the name of each; then what machine.sh takes.
# Always holds: a cgroup is named in that file before it is made; the machine's processes end with this one.
set -eu
folder=$1 made=$2 name=$3
shift 3
while IFS=: read -r _ kinds path; do
  [ -n "$kinds" ] || continue
  group=/sys/fs/cgroup/${kinds#name=}${path%/}/$name
  [ -d "${group%/*}" ] || { echo "the cgroups of $kinds are not mounted at ${group%/*}"; exit 1; }
  echo "$group" >>"$made"
  mkdir "$group"
  if [ "$kinds" = cpuset ]; then
    # One that has no processors takes no process.
    for what in cpus mems; do cat "${group%/*}/cpuset.$what" >"$group/cpuset.$what"; done
  fi
  echo $$ >"$group/cgroup.procs"
done </proc/self/cgroup
exec unshare --cgroup --mount --net --uts --ipc --pid --fork --kill-child=KILL -- sh "$folder/machine.sh" "$folder" "$@"
