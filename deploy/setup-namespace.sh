#!/bin/sh
# Makes the namespace with its retention and the search attributes by which runs are found. May run again at any time.
# TEMPORAL_ADDRESS, NAMESPACE and RETENTION say where and for how long.
set -eu

tries=60
until temporal operator cluster health >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "Temporal does not answer at $TEMPORAL_ADDRESS." >&2; exit 1; }
    sleep 2
done

if temporal operator namespace describe --namespace "$NAMESPACE" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$NAMESPACE" --retention "$RETENTION"
else
    temporal operator namespace create --namespace "$NAMESPACE" --retention "$RETENTION"
fi

add() {
    temporal operator search-attribute create --namespace "$NAMESPACE" --name "$1" --type "$2"
}

tries=30
until add GqlpluginStatus Keyword; do # a new namespace is not known everywhere at once
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 2
done
add GqlpluginCaller Keyword
add GqlpluginCreatedAt Datetime
add GqlpluginWaitPoint Keyword
add GqlpluginWaitingSince Datetime
