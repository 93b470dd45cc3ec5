#!/usr/bin/env bash
# Publishes one command, waits for the answer to exactly its message, and prints that event. It needs
# the nats command line and jq.
#
#   publish.sh export req-1 '{"all_projects":true}'
#
# It exits with 0 when the command completed or repeated an earlier message, and with 3 when it
# failed, was refused or was cancelled. The rights of a requester in docs/nats.md are enough; set
# CONSUMER_NATS_DOMAIN and CONSUMER_NATS_INBOX_PREFIX as they are said there.
set -euo pipefail
[ $# = 3 ] || { echo 'usage: publish.sh export|delete|cancel ID DATA' >&2; exit 2; }
action=$1 id=$2 data=$3
api="\$JS.${CONSUMER_NATS_DOMAIN:+$CONSUMER_NATS_DOMAIN.}API"
ask() { nats --inbox-prefix "${CONSUMER_NATS_INBOX_PREFIX:-_INBOX}" request --raw "$@" 2>/dev/null; }

created=$(ask "$api.STREAM.INFO.CV_COMMANDS" '' | jq -er .created)
ack=$(ask "cv.commands.$action" "$data" -H "Nats-Msg-Id:$id")
jq -e .seq <<<"$ack" >/dev/null || { echo "not published: $ack" >&2; exit 1; }
if jq -e '.duplicate == true' <<<"$ack" >/dev/null; then
	echo 'the same id was published less than 100 ms ago: publish again' >&2
	exit 1
fi
seq=$(jq .seq <<<"$ack")

# The events under the id, and under the sequence of a message without an id of its own, until one
# answers the message.
declare -A next=(["cv.events.$action.$id.*"]=1 ["cv.events.$action.seq-$seq.*"]=1)
while :; do
	for subject in "${!next[@]}"; do
		found=$(ask "$api.STREAM.MSG.GET.CV_EVENTS" "$(jq -nc --arg s "$subject" --argjson n "${next[$subject]}" '{seq: $n, next_by_subj: $s}')")
		jq -e .message <<<"$found" >/dev/null || continue
		next[$subject]=$(($(jq .message.seq <<<"$found") + 1))
		event=$(jq -r .message.data <<<"$found" | base64 -d)
		status=$(jq -r --argjson seq "$seq" --arg stream "$created" '.data | select(.seq == $seq and .stream == $stream) | .status' <<<"$event")
		case $status in
		completed | duplicate) echo "$event"; exit 0 ;;
		failed | refused | cancelled) echo "$event"; exit 3 ;;
		esac
	done
	sleep 1
done
