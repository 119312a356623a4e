"""Completion: small scripts for the shells, which ask ``linkspan __complete`` what may come next."""

from __future__ import annotations

from linkspan.cli.call import Call
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Command

BASH = """\
# bash completion for linkspan; load with:  source <(linkspan completion bash)
_linkspan() {
    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} line rest=${COMP_LINE:0:COMP_POINT} part kept
    local words=()
    # bash splits words at = and : too: put together what no blank separates
    for part in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} == 0 || $rest == [[:space:]]* ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("$part")
        else
            words[-1]+=$part
        fi
        rest=${rest#"$part"}
    done
    # what stands before the last = or : is not ours to replace
    [[ $current == [=:] ]] && current=
    kept=${words[-1]%"$current"}
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$current"))
        else
            line=${line%%$'\\t'*}
            line=${line#"$kept"}
            [[ $line == *= ]] && compopt -o nospace 2>/dev/null
            COMPREPLY+=("$line")
        fi
    done < <(linkspan __complete "${words[@]:1}" 2>/dev/null)
}
complete -F _linkspan linkspan
"""

ZSH = """\
#compdef linkspan
# zsh completion for linkspan; load with:  source <(linkspan completion zsh)
_linkspan() {
    local line
    local -a found
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            _files
        else
            found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
        fi
    done < <(linkspan __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#found} )) && _describe -V linkspan found
}
if [[ ${funcstack[1]} == _linkspan ]]; then
    _linkspan
else
    compdef _linkspan linkspan
fi
"""

FISH = """\
# fish completion for linkspan; load with:  linkspan completion fish | source
function __linkspan_complete
    set -l words (commandline -opc)
    set -e words[1]
    for line in (linkspan __complete $words (commandline -ct) 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c linkspan -f -a '(__linkspan_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(call: Call) -> int:
    shell = call.words[0]
    if shell not in SCRIPTS:
        raise UsageError(f"linkspan: no completion for '{shell}': there is one for {', '.join(SCRIPTS)}", 1)
    print(SCRIPTS[shell], end="")
    return 0


def complete(call: Call) -> int:
    """Prints one candidate a line, a tab, and what it is; ``:files`` leaves the rest to the shell."""
    from linkspan.cli.complete import candidates

    for word, text in candidates(call.words, call.host):
        print(f"{word}\t{text}" if text else word)
    return 0


COMMANDS = {
    "completion": Command(script, arguments="bash|zsh|fish", least=1, most=1, nouns=("shell",)),
    "__complete": Command(complete, arguments="WORD...", most=None, raw=True),
}
