"""What a keepalived notify script does with az, without az's own start-up time: takes an address off
the NIC that has it and puts it on this one, waiting for each operation as Azure asks (Retry-After).

    az_move.py ARM NIC_ID ADDRESS
"""

import json
import sys
import time
import urllib.request

API = "api-version=2024-05-01"
IMDS = (
    "http://169.254.169.254/metadata/identity/oauth2/token"
    "?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
)
arm, mine, address = sys.argv[1:]
# Long after anybody waits: it ends by itself.
end = time.monotonic() + 120


def call(method, url, token=None, body=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {"Metadata": "true"}
    data = json.dumps(body).encode() if body is not None else None
    if data:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, json.loads(answer.read() or b"null")


def patiently(method, url, token=None, body=None):
    """az tries what failed again."""
    while True:
        try:
            return call(method, url, token, body)
        except OSError as error:
            print(f"{method} {url}: {error}", file=sys.stderr, flush=True)
            if time.monotonic() > end:
                sys.exit(1)
            time.sleep(1)


def put(nic, token):
    headers, _ = patiently("PUT", f"{arm}{nic['id']}?{API}", token, nic)
    operation = headers["Azure-AsyncOperation"]
    while operation:
        time.sleep(float(headers["Retry-After"] or 1))
        headers, state = patiently("GET", operation, token)
        if state["status"] != "InProgress":
            return


token = patiently("GET", IMDS)[1]["access_token"]
group = mine.rsplit("/", 1)[0]
nics = patiently("GET", f"{arm}{group}?{API}", token)[1]["value"]
for nic in nics:
    configs = nic["properties"]["ipConfigurations"]
    rest = [c for c in configs if c["properties"]["privateIPAddress"] != address]
    if len(rest) == len(configs):
        continue
    if nic["id"].lower() == mine.lower():
        sys.exit(0)
    nic["properties"]["ipConfigurations"] = rest
    put(nic, token)
nic = patiently("GET", f"{arm}{mine}?{API}", token)[1]
configs = nic["properties"]["ipConfigurations"]
subnet = configs[0]["properties"]["subnet"]
own = {"privateIPAddress": address, "privateIPAllocationMethod": "Static", "subnet": subnet}
configs.append({"name": "vip", "properties": own})
put(nic, token)
print("moved", flush=True)
