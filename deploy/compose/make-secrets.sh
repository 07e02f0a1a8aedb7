#!/bin/sh
# Creates the API keys and the certificate for deploy/compose/secure.yml in deploy/compose/secrets.
#
#     deploy/compose/make-secrets.sh [HOST]    # the name in the certificate; localhost by default
#
# Existing files are kept: put your own certificate into proxy.pem (chain and key).
set -eu
cd "$(dirname "$0")/../.."
host=${1:-localhost}
secrets=${SECRETS:-deploy/compose/secrets}
mkdir -p "$secrets"
# Only the owner may enter the folder. The files are readable, because containers run as other users.
chmod 700 "$secrets"
umask 022

make_key() { # NAME SCOPE…: the key goes to NAME.key, its digest to api_keys.txt
    name=$1
    shift
    [ -e "$secrets/$name.key" ] && return
    shown=$("${PYTHON:-python3}" -m service.keys "$name" --scopes "$@" 2>&1 >>"$secrets/api_keys.txt")
    printf %s "${shown##*: }" >"$secrets/$name.key"
}
make_key client predict
make_key operator predict administer observe
make_key prometheus observe

certificate="proxy.pem is kept as it is: remove it for another certificate"
if [ ! -e "$secrets/proxy.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
        -keyout "$secrets/key.pem" -out "$secrets/certificate.pem" 2>/dev/null
    cat "$secrets/certificate.pem" "$secrets/key.pem" >"$secrets/proxy.pem"
    rm "$secrets/key.pem"
    certificate="certificate for $host, valid for a year"
fi
echo "$secrets: keys client, operator and prometheus; $certificate"
