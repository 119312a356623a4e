"""Services that people ask for by name in SRV queries, with their ports. Pure."""

from __future__ import annotations

from typing import Final

SERVICES: Final = {
    "amqp": "5672",
    "amqps": "5671",
    "domain": "53",
    "ftp": "21",
    "http": "80",
    "http-alt": "8080",
    "https": "443",
    "imap": "143",
    "imaps": "993",
    "kerberos": "88",
    "ldap": "389",
    "ldaps": "636",
    "memcache": "11211",
    "mongodb": "27017",
    "mqtt": "1883",
    "ms-sql-s": "1433",
    "mysql": "3306",
    "nats": "4222",
    "nfs": "2049",
    "ntp": "123",
    "postgresql": "5432",
    "redis": "6379",
    "sip": "5060",
    "smtp": "25",
    "ssh": "22",
    "submission": "587",
    "syslog": "514",
    "telnet": "23",
}
"""IANA: service name and transport protocol port number registry. Other ports are asked for by number."""
