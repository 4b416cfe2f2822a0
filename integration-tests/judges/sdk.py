"""The cases of azure-mgmt-network against the simulator. Prints the name of each that holds."""

import os
import time

import msal
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.network import NetworkManagementClient

SUBSCRIPTION = "00000000-0000-4000-8000-0000000000a5"
ARM = os.environ["ARM"]
GROUP = "vipfence"


class ManagedIdentity:
    """What azure-identity does, with the library below it."""

    def __init__(self):
        identity = msal.SystemAssignedManagedIdentity()
        self.client = msal.ManagedIdentityClient(identity, http_client=requests.Session())

    def get_token(self, *_scopes, **_options):
        token = self.client.acquire_token_for_client(resource="https://management.azure.com/")
        assert "access_token" in token, token
        return AccessToken(token["access_token"], int(time.time()) + token["expires_in"])


credential = ManagedIdentity()
client = NetworkManagementClient(
    credential, SUBSCRIPTION, base_url=ARM, credential_scopes=[ARM + "/.default"]
)
nics = client.network_interfaces


def write(name, nic, **options):
    return nics.begin_create_or_update(GROUP, name, nic, **options)


def a_managed_identity_gets_a_token():
    token = credential.get_token()
    assert token.token.count(".") == 2, token
    assert 3000 < token.expires_on - time.time() <= 86400, token


def lists_come_in_pages():
    # The simulator's pages have one entry here: the iterator has to follow nextLink.
    for listed in [nics.list(GROUP), nics.list_all()]:
        assert [nic.name for nic in listed] == ["n1-nic", "n2-nic"]
    configs = client.network_interface_ip_configurations.list(GROUP, "n1-nic")
    assert [config.name for config in configs] == ["ipconfig1"]


def a_nic_is_a_model():
    nic = nics.get(GROUP, "n1-nic")
    assert nic.provisioning_state == "Succeeded"
    assert nic.etag.startswith('W/"')
    assert nic.virtual_machine.id.endswith("/virtualMachines/n1")
    [config] = nic.ip_configurations
    assert (config.name, config.private_ip_address) == ("ipconfig1", "10.5.0.4")
    assert config.primary and config.etag == nic.etag


def if_match_with_the_present_etag_writes():
    nic = nics.get(GROUP, "n1-nic")
    before = nic.etag
    subnet = nic.ip_configurations[0].subnet
    nic.ip_configurations.append(
        {
            "name": "vip",
            "properties": {
                "privateIPAddress": "10.5.0.110",
                "privateIPAllocationMethod": "Static",
                "subnet": {"id": subnet.id},
            },
        }
    )
    after = write("n1-nic", nic, headers={"If-Match": before}).result()
    assert after.etag != before
    assert [config.name for config in after.ip_configurations] == ["ipconfig1", "vip"]


def if_match_with_a_stale_etag_is_412():
    nic = nics.get(GROUP, "n1-nic")
    stale = nic.etag
    present = write("n1-nic", nic).result().etag
    try:
        write("n1-nic", nic, headers={"If-Match": stale})
    except HttpResponseError as refusal:
        assert refusal.status_code == 412
        assert refusal.error.code == "PreconditionFailed"
        assert refusal.error.message == "Precondition failed."
        [detail] = refusal.error.details
        assert detail.code == "PreconditionFailedEtagMismatch"
        assert detail.message == (
            f"Etag provided in if-match header {stale} does not match etag {present} of "
            f"resource {nic.id}"
        )
    else:
        raise AssertionError("a stale If-Match was let through")


def the_poller_obeys_retry_after():
    nic = nics.get(GROUP, "n2-nic")
    start = time.monotonic()
    # The poller's own interval is half a minute; Azure's word counts.
    poller = write("n2-nic", nic, polling_interval=30)
    assert not poller.done()
    assert poller.result().provisioning_state == "Succeeded"
    took = time.monotonic() - start
    assert 0.3 <= took < 10, took


def tags_are_patched():
    assert nics.update_tags(GROUP, "n1-nic", {"tags": {"role": "web"}}).tags == {"role": "web"}
    assert nics.get(GROUP, "n1-nic").tags == {"role": "web"}


def an_address_is_checked():
    check = client.virtual_networks.check_ip_address_availability
    free = check(GROUP, "vnet", ip_address="10.5.0.111")
    assert free.available and free.available_ip_addresses is None
    taken = check(GROUP, "vnet", ip_address="10.5.0.110")
    assert not taken.available and len(taken.available_ip_addresses) == 5
    assert check(GROUP, "vnet", ip_address="10.5.0.1").is_platform_reserved


def refusals_are_typed():
    try:
        nics.get(GROUP, "none")
    except ResourceNotFoundError as refusal:
        assert refusal.error.code == "ResourceNotFound"
    else:
        raise AssertionError("there is no NIC none")
    nic = nics.get(GROUP, "n2-nic")
    nic.ip_configurations[0].primary = False
    nic.ip_configurations.append(nic.ip_configurations[0])
    try:
        write("n2-nic", nic)
    except HttpResponseError as refusal:
        assert (refusal.status_code, bool(refusal.error.code)) == (400, True)
    else:
        raise AssertionError("two ipConfigurations of one name")


for case in [
    a_managed_identity_gets_a_token,
    lists_come_in_pages,
    a_nic_is_a_model,
    if_match_with_the_present_etag_writes,
    if_match_with_a_stale_etag_is_412,
    the_poller_obeys_retry_after,
    tags_are_patched,
    an_address_is_checked,
    refusals_are_typed,
]:
    case()
    print(case.__name__)
