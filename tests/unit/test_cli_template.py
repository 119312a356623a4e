from __future__ import annotations

import pytest

from linkspan.cli.failure import Failure
from linkspan.cli.template.run import Template
from linkspan.cli.template.value import Row

DOCUMENT = {
    "Id": "abc123",
    "Name": "/web",
    "Count": 3,
    "Ratio": 0.5,
    "Up": True,
    "Args": ["a", "b", "c"],
    "State": {"Status": "running", "Health": None, "Code": 0},
    "Config": {
        "Labels": {"z": "last", "a": "first", "com.example.x-y": "dotted"},
        "Entrypoint": None,
        "Env": [],
        "Image": "busybox",
    },
    "HostConfig": {"Binds": None, "PidsLimit": None, "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}},
    "NetworkSettings": {
        "Networks": {
            "web": {"IPAddress": "10.0.0.2", "Aliases": ["x", "y"], "Gateway": ""},
            "back": {"IPAddress": "10.1.0.2", "Aliases": None, "Gateway": "10.1.0.1"},
        }
    },
    "Labels": None,
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "abc123"),
        ("{{ .State.Status }}/{{.Count}}", "running/3"),
        ("{{.Up}} {{.Ratio}}", "true 0.5"),
        ("{{.Args}}", "[a b c]"),
        ("{{.Config.Labels}}", "map[a:first com.example.x-y:dotted z:last]"),
        ("{{.HostConfig.Binds}}{{.Labels}}{{.HostConfig.PidsLimit}}", "[]map[]<nil>"),
        ("{{json .Args}}", '["a","b","c"]'),
        ("{{json .State.Health}}{{json .HostConfig.Binds}}", "nullnull"),
        ("{{.Config.Labels.a}}{{.Config.Labels.nope}}", "first<no value>"),
        ('{{index .Config.Labels "com.example.x-y"}}', "dotted"),
        ('[{{index .Config.Labels "nope"}}]', "[]"),
        ('{{index .Args 1}}{{index .HostConfig.PortBindings "80/tcp" 0}}', "b{ 8080}"),
        ('{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}', "8080"),
        ("{{.NetworkSettings.Networks.web.IPAddress}}", "10.0.0.2"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "10.1.0.2 10.0.0.2 "),
        (
            "{{range $name, $n := .NetworkSettings.Networks}}{{$name}}={{$n.IPAddress}};{{end}}",
            "back=10.1.0.2;web=10.0.0.2;",
        ),
        ("{{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}", "a,b,c"),
        ("{{range $e := .Args}}{{$e}}{{$.Count}}{{end}}", "a3b3c3"),
        ("{{range .Config.Env}}x{{else}}none{{end}}", "none"),
        ("{{range .HostConfig.Binds}}x{{else}}none{{end}}", "none"),
        ('{{range .Args}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', "ac"),
        ('{{range .Args}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"),
        ("{{if .Up}}yes{{else}}no{{end}}", "yes"),
        ("{{if .State.Code}}yes{{else if .Up}}maybe{{else}}no{{end}}", "maybe"),
        ("{{if and .Up (not .State.Code)}}ok{{end}}", "ok"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{with .Config.Env}}x{{else}}empty{{end}}", "empty"),
        ("{{with $x := .Count}}{{$x}}{{end}}", "3"),
        ("{{$n := .Count}}{{if .Up}}{{$n = 9}}{{end}}{{$n}}", "9"),
        ("{{len .Args}}{{len .Name}}{{len .Config.Labels}}", "343"),
        ('{{eq .Count 3}} {{ne .Name "x"}} {{lt 1 2}} {{ge 1 2}}', "true true true false"),
        ('{{eq .State.Status "exited" "running"}}', "true"),
        ('{{or .State.Health "none"}}{{and 1 0 2}}', "none0"),
        ('{{join .Args "-"}}', "a-b-c"),
        ('{{.Name | printf "%s!" | upper}}', "/WEB!"),
        ('{{printf "%-6s|%5d|%05.1f|%v|%q" .Id .Count 2.25 .Args "x"}}', 'abc123|    3|002.2|[a b c]|"x"'),
        ('{{printf "%s"}}{{printf "a" 1}}', "%!s(MISSING)a%!(EXTRA int=1)"),
        ('{{print 1 2 "a" "b" 3}}', "1 2ab3"),
        ("{{println .Id}}", "abc123\n"),
        ('{{lower "ABC"}}{{title "ab cd"}}{{truncate .Id 3}}{{slice .Id 1 3}}', "abcAb Cdabcbc"),
        ('{{range split "a,b" ","}}<{{.}}>{{end}}', "<a><b>"),
        ('{{pad "x" 1 2}}|', " x  |"),
        ("a {{- .Count -}} b", "a3b"),
        ("a\n{{- /* nothing */ -}}\nb", "ab"),
        ("{{/* nothing */}}x", "x"),
        ('{{"a\\tb"}}{{`c\\n`}}', "a\tbc\\n"),
        ('{{"}}"}}', "}}"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{if not (eq .Name "/web")}}x{{else}}y{{end}}', "y"),
        (
            '{{range $k, $v := .Config.Labels}}{{printf "%s=%s " $k $v}}{{end}}',
            "a=first com.example.x-y=dotted z=last ",
        ),
        ('{{ (index .NetworkSettings.Networks "web").Aliases | json }}', '["x","y"]'),
        ("{{json .Labels}}", "null"),
    ],
)
def test_a_template_prints_what_go_prints(source: str, text: str) -> None:
    assert Template(source).render(DOCUMENT) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", 'no field "Nope"'),
        ("{{.State.Nope}}", 'at <.State.Nope>: no field "Nope"'),
        ("{{.Id.Nope}}", "can't evaluate field Nope in a string"),
        ("{{.NetworkSettings.Networks.nope.IPAddress}}", 'no entry for "IPAddress"'),
        ("{{nope .Id}}", 'function "nope" not defined'),
        ("{{.Id", "unclosed action"),
        ("{{if .Up}}x", "end"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{index .Args 9}}", "index out of range: 9"),
        ("{{range .Id}}{{end}}", "range can't iterate over a string"),
        ('{{"a}}', "unterminated quoted string"),
        ("{{}}", "missing value for command"),
        ("{{.Id .Name}}", "takes no argument"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{len 3}}", "error calling len"),
        ('{{lt 1 "a"}}', "incompatible types for comparison"),
        ("{{.Id | }}", "missing value for command"),
        ("{{5x}}", "bad number syntax"),
    ],
)
def test_a_bad_template_is_a_failure_and_no_crash(source: str, message: str) -> None:
    with pytest.raises(Failure, match="template parsing error") as caught:
        Template(source).render(DOCUMENT)
    assert message in caught.value.message


def test_rows_have_fields_and_functions() -> None:
    labels = {"a": "1"}
    row = Row("container", {"ID": "x", "Names": "web", "Label": lambda key: labels.get(key, "")})
    assert Template('{{.ID}}:{{.Label "a"}}:{{.Label "b"}}').render(row) == "x:1:"
    assert Template("{{json .}}").render(row) == '{"ID":"x","Names":"web"}'
    with pytest.raises(Failure, match="can't evaluate field Foo in a container; it has ID, Label, Names"):
        Template("{{.Foo}}").render(row)
