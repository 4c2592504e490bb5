"""What a test asks of Python: one JSON object on standard input, one on standard output.

do = parse: the samples of `text`, as Prometheus' own client library reads `format`.
do = http: what an HTTP server answers; over the Unix socket `socket`, if it names one.
do = query: whether Prometheus at `url` can answer each of `queries`, and how many results.
do = rules: the health and state of its rules.
"""

import json
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPConnection

request = json.load(sys.stdin)


def get(url, method="GET", headers={}):
    asked = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, dict(answer.headers.items()), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers.items()), error.read().decode()


def parse():
    if request["format"] == "openmetrics":
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    else:
        from prometheus_client.parser import text_string_to_metric_families
    families = text_string_to_metric_families(request["text"])
    samples = [sample for family in families for sample in family.samples]
    return {"samples": [[sample.name, sample.labels, sample.value] for sample in samples]}


class Local(HTTPConnection):
    """The same protocol, over a Unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(request["socket"])


def get_locally(url, method, headers):
    connection = Local("localhost", timeout=10)
    connection.request(method, urllib.parse.urlsplit(url).path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.headers.items()), answer.read().decode()


def http():
    asked = get_locally if "socket" in request else get
    headers = {"Accept": request["accept"]}
    status, headers, body = asked(request["url"], request["method"], headers)
    headers = {name.lower(): value for name, value in headers.items()}
    return {"status": status, "type": headers.get("content-type"), "body": body}


def query():
    answers = []
    for one in request["queries"]:
        quoted = urllib.parse.urlencode({"query": one})
        answer = json.loads(get(request["url"] + "/api/v1/query?" + quoted)[2])
        answer["results"] = len(answer.get("data", {}).get("result", []))
        answers.append(answer)
    return answers


def rules():
    answer = json.loads(get(request["url"] + "/api/v1/rules")[2])
    groups = answer["data"]["groups"]
    return {"rules": [rule for group in groups for rule in group["rules"]]}


json.dump({"parse": parse, "http": http, "query": query, "rules": rules}[request["do"]](), sys.stdout)
