#!/bin/sh
# The REST API by curl, step by step: sh examples/05_curl.sh SLIDE [URL] [KEY]
set -eu
slide=$1 url=${2:-http://127.0.0.1:8000} key=${3:-}

ask() { # a key, where the service wants one; a refusal is shown and ends the script
  curl --silent --show-error --fail-with-body ${key:+-H "Authorization: Bearer $key"} "$@"
}
field() { # the value of a field, out of JSON that is one line
  sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

echo '1. a slide goes in, a picture comes out'
ask -X POST -T "$slide" -H 'Accept: image/png' -H 'Prefer: wait=60' "$url/v1/heatmaps" \
  -o heatmap.png -w '%{http_code} %{content_type}\n' # 202 application/json: it takes longer

echo '2. without waiting: 202, and a job to ask for'
job=$(ask -X POST -T "$slide" "$url/v1/heatmaps?stride=10" | field id)
while state=$(ask "$url/v1/jobs/$job?wait=30" | field state); do
  echo "$job: $state"
  case $state in succeeded) break ;; failed | cancelled) exit 1 ;; esac
done

echo '3. its progress as server-sent events, until it ends'
job=$(ask -X POST -T "$slide" "$url/v1/heatmaps?stride=12" | field id)
ask --no-buffer "$url/v1/jobs/$job/events" | cut -c 1-100

echo '4. the same slide again is answered from its result'
ask -X POST -T "$slide" -H 'Accept: image/png' "$url/v1/heatmaps" \
  -o again.png -w '%{http_code} in %{time_total} s\n'
cmp heatmap.png again.png && echo 'the same picture'

echo '5. outlines for QuPath, and the record of the result'
result=$(ask "$url/v1/jobs/$job" | field result_id)
ask "$url/v1/results/$result/heatmap.geojson?kind=regions" -o regions.geojson
ask "$url/v1/results/$result" -o result.json
