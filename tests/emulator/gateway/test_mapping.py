"""Mapping templates: what API Gateway's VTL makes of a message."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.gateway.mapping import MappingError, render

_BODY = r"""{"body": "$util.escapeJavaScript($input.body).replaceAll("\\'","'")"}"""
_NASTY = st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("\\'\"/$#{}!\n\t\x00\x1f\x7f😀")))


@settings(max_examples=25)
@example("\\'\"/$#{}!\n\t\x00\x1f\x7f😀 #set($x = 1) ${y} $input.body \u2028")
@given(_NASTY)
def test_any_body_survives_escaping(body: str) -> None:
    assert json.loads(render(_BODY, body, {}, {})) == {"body": body}


def test_escape_without_replace_all_gives_invalid_json_for_a_quote() -> None:
    with pytest.raises(MappingError):
        render('{"body": "$util.escapeJavaScript($input.body)"}', "it's", {}, {})


def test_context_and_stage_variables_are_there_and_quoted_numbers_are_strings() -> None:
    template = '{"a": "$context.n", "b": $context.n, "c": "$context.authorizer.user", "d": "$stageVariables.x"}'
    context = {"n": 7, "authorizer": {"user": "ada"}}
    assert json.loads(render(template, "", context, {"x": "y"})) == {"a": "7", "b": 7, "c": "ada", "d": "y"}


def test_missing_context_value_is_empty() -> None:
    assert render('{"a": "$context.authorizer.nobody"}', "", {}, {}) == b'{"a": ""}'


def test_input_is_read_by_path() -> None:
    template = """{"a": $input.json('$.x.y[1]'), "b": "$input.path('$.z')", "c": $input.json('$.none')}"""
    body = '{"x": {"y": [1, {"deep": true}]}, "z": "text"}'
    assert json.loads(render(template, body, {}, {})) == {"a": {"deep": True}, "b": "text", "c": None}


def test_utilities_encode_and_decode() -> None:
    template = (
        """{"a": "$util.base64Encode('ü')", "b": "$util.urlEncode('a b&c')", "c": "$util.base64Decode('w7w=')"}"""
    )
    assert json.loads(render(template, "", {}, {})) == {"a": "w7w=", "b": "a+b%26c", "c": "ü"}


def test_template_that_gives_no_json_is_an_error() -> None:
    with pytest.raises(MappingError):
        render("not JSON", "", {}, {})
