"""Which addresses and URLs webhooks may go to."""

import pytest

from orchestrator.errors import Invalid
from orchestrator.webhooks.addresses import checked_url, refusal

REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.0.9": "loopback",
    "0.0.0.0": "unspecified",
    "10.1.2.3": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "100.64.0.1": "shared (carrier-grade NAT)",
    "100.100.100.200": "shared (carrier-grade NAT)",  # a cloud's metadata service
    "169.254.169.254": "link-local",
    "168.63.129.16": "a cloud's metadata service",
    "192.0.0.192": "reserved",
    "198.18.0.1": "reserved for benchmarks",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::1": "loopback",
    "::": "unspecified",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fd00:ec2::254": "private",
    "fec0::1": "reserved",
    "ff02::1": "multicast",
    "::ffff:10.0.0.1": "private",
    "::ffff:169.254.169.254": "link-local",
    "::127.0.0.1": "reserved",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b:1::a00:1": "reserved",
    "2002:7f00:1::": "reserved (6to4)",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
    "2001:db8::1": "reserved for documentation",
    "100::1": "private",
    "localhost": "no IP address",
    "2130706433": "no IP address",
    "0x7f.1": "no IP address",
}
PUBLIC = ("8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "64:ff9b::808:808")


@pytest.mark.parametrize(("address", "word"), REFUSED.items())
def test_an_address_that_is_not_public_is_refused(address: str, word: str) -> None:
    assert refusal(address) == word


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://",
        "hooks.example.com",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com:no/",
        "https://[::1",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\n",
        "https://hööks.example.com/",
        "https://localhost/",
        "https://a.localhost:8443/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        f"https://hooks.example.com/{'x' * 2048}",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_at_once(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_url(url, private_allowed=False)
    assert refused.value.param == "url"


def test_the_operator_can_allow_neighbours() -> None:
    url = "http://10.0.0.5:9000/hook?key=1"
    with pytest.raises(Invalid, match="YARD_WEBHOOK_PRIVATE_ADDRESSES=true"):
        checked_url(url, private_allowed=False)
    assert checked_url(url, private_allowed=True) == url
    assert checked_url("https://hooks.example.com:8443/x", private_allowed=False)
