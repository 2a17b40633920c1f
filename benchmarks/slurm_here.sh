#!/usr/bin/env bash
# A real Slurm on this machine alone, on loopback and in one folder, to run the job scripts of docs/slurm as a user would.
#
#   benchmarks/slurm_here.sh start FOLDER      munged, slurmctld and two slurmd; prints what a shell must export
#   benchmarks/slurm_here.sh stop FOLDER       jobs are cancelled, all of it ends
#
#   eval "$(benchmarks/slurm_here.sh start ~/slurm)"
#   sbatch docs/slurm/extract-array.sbatch --manifest my.jsonl --videos my_videos --out features/my.h5
#   benchmarks/slurm_here.sh stop ~/slurm
#
# The two nodes say that they have 32 processors, 200 GB and four GPUs each, so that the scripts run as they are; nothing
# is bound or limited. Nodes are called by their loopback addresses, because torchrun looks names up. Needs Slurm and
# MUNGE (Debian: slurm-wlm, munge), no root. FOLDER's path must be short: it holds a socket.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/usr/local/sbin
what=${1:-} folder=${2:-}
nodes=(127.0.0.1 127.0.0.2)

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# until_true SECONDS COMMAND ...: waits for it; false where it does not come.
until_true() {
  local limit=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$limit" ] || return 1
    sleep 0.2
  done
}

all_idle() { [ "$(sinfo --noheader --Node --format=%T | grep -c idle)" -eq "${#nodes[@]}" ]; }
all_ended() {
  local file
  for file in "$folder"/*.pid; do
    [ ! -e "$file" ] || ! kill -0 "$(cat "$file")" || return 1
  done
}

free_ports() {
  python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.create_server(("", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in held))
PYTHON
}

write_settings() {
  local ports host i
  read -ra ports <<<"$(free_ports $((${#nodes[@]} + 1)))"
  host=$(hostname -s)
  # A GPU must be a device; these four are everywhere.
  printf 'Name=gpu File=/dev/%s\n' null zero full random >"$folder/gres.conf"
  cat >"$folder/slurm.conf" <<SETTINGS
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
MailProg=$(type -P true)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
GresTypes=gpu
SETTINGS
  for i in "${!nodes[@]}"; do
    mkdir -p "$folder/spool-${nodes[i]}"
    echo "NodeName=${nodes[i]} NodeHostname=$host NodeAddr=${nodes[i]} Port=${ports[i + 1]}" \
      "CPUs=32 RealMemory=200000 Gres=gpu:4 State=UNKNOWN" >>"$folder/slurm.conf"
  done
  echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$folder/slurm.conf"
}

start() {
  local node
  for program in munged slurmctld slurmd sbatch; do
    type -P "$program" >/dev/null || { echo "error: no $program here (Debian: slurm-wlm, munge)" >&2 && exit 2; }
  done
  mkdir -p "$folder/state"
  folder=$(cd "$folder" && pwd)
  [ -e "$folder/slurm.conf" ] || write_settings
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" --num-threads=2 >&2
  export SLURM_CONF=$folder/slurm.conf
  slurmctld >&2
  until_true 20 scontrol ping || { tail -n 5 "$folder/slurmctld.log" >&2 && exit 1; }
  for node in "${nodes[@]}"; do slurmd -N "$node" >&2; done
  until_true 30 all_idle || { sinfo >&2 && tail -n 5 "$folder"/slurmd-*.log >&2 && exit 1; }
  echo "export SLURM_CONF=$folder/slurm.conf"
}

stop() {
  folder=$(cd "$folder" && pwd)
  export SLURM_CONF=$folder/slurm.conf
  scancel --user="$(id -un)" || true
  until_true 60 bash -c '[ -z "$(squeue --noheader)" ]' || true
  scontrol shutdown || true
  kill "$(cat "$folder/munged.pid")" 2>/dev/null || true
  until_true 30 all_ended || { echo "error: something of $folder still runs" >&2 && exit 1; }
}

[ -n "$folder" ] || usage
case $what in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
