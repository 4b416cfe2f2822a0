#!/usr/bin/env bash
# What others do without a cluster (NEC's and like scripts): when this VM is to be active, it moves
# the virtual address to its own NIC with az. Nothing fences the VM that had it, and no write has an
# If-Match.
#
#   peer.sh GROUP VNET NIC NAME ADDRESS
set -euo pipefail
group=$1 vnet=$2 mine=$3 name=$4 address=$5

az login --identity --output none

free=$(az network vnet check-ip-address --resource-group "$group" --name "$vnet" \
    --ip-address "$address" --query available --output tsv)

if [[ $free != true ]]; then
    # Which NIC has it, and under which name?
    query="[].{nic: name, config: ipConfigurations[?privateIPAddress=='$address'] | [0].name}"
    read -r holder config < <(az network nic list --resource-group "$group" \
        --query "$query | [?config].[nic, config] | [0]" --output tsv | paste -sd ' ')
    if [[ $holder == "$mine" ]]; then
        echo "$mine has $address already"
        exit 0
    fi
    echo "taking $address from $holder"
    az network nic ip-config delete --resource-group "$group" --nic-name "$holder" \
        --name "$config" --output none
fi

az network nic ip-config create --resource-group "$group" --nic-name "$mine" --name "$name" \
    --private-ip-address "$address" --output none
echo "$mine has $address"
