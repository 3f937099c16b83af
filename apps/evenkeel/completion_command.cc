// `evenkeel completion SHELL`: a completion script made from the verbs and flags that this program
// has.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel completion bash > /etc/bash_completion.d/evenkeel\n"
    "  evenkeel completion zsh > \"${fpath[1]}/_evenkeel\"\n"
    "  evenkeel completion fish > ~/.config/fish/completions/evenkeel.fish";

struct Word {
  std::string text, help;
};

// What may follow after the verbs in `path` ("" for the program itself, "samples ls").
struct Node {
  std::string path;
  std::vector<Word> verbs, flags;
};

// One line, without the default in brackets: defaults are this user's, the script may be everyone's.
std::string Brief(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.ends_with(']')) line.resize(std::min(line.rfind(" ["), line.size()));
  return line;
}

void Collect(const CLI::App& app, const std::string& path, std::vector<Node>* nodes) {
  Node node{path, {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames())
      node.flags.push_back({"--" + name, Brief(option->get_description())});
    for (const std::string& name : option->get_snames())
      node.flags.push_back({"-" + name, Brief(option->get_description())});
  }
  const auto subs = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : subs)
    node.verbs.push_back({sub->get_name(), Brief(sub->get_description())});
  nodes->push_back(std::move(node));
  for (const CLI::App* sub : subs)
    Collect(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), nodes);
}

// Inside single quotes in every shell used here.
std::string Quoted(const std::string& text, const char* quote_escape) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += quote_escape;
    } else {
      out += c;
    }
  }
  return out + "'";
}

// Flags after a dash, verbs before any other word; models are not asked for: completion must not
// wait for a server.
std::string BashScript(const std::vector<Node>& nodes) {
  std::string text =
      "_evenkeel() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} at= known= i\n"
      "  local -A verbs flags\n";
  for (const Node& node : nodes) {
    std::string verbs;
    std::string flags;
    for (const Word& verb : node.verbs) verbs += verb.text + " ";
    for (const Word& flag : node.flags) flags += flag.text + " ";
    const std::string key = "[" + Quoted("/" + node.path, "'\\''") + "]=";
    text +=
        "  verbs" + key + Quoted(verbs, "'\\''") + " flags" + key + Quoted(flags, "'\\''") + "\n";
  }
  text +=
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    known=\" ${verbs[/$at]} \"\n"
      "    if [[ $known == *\" ${COMP_WORDS[i]} \"* ]]; then at=\"${at:+$at }${COMP_WORDS[i]}\"; "
      "fi\n"
      "  done\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"${flags[/$at]}\" -- \"$word\"))\n"
      "  elif [[ -n ${verbs[/$at]} ]]; then\n"
      "    COMPREPLY=($(compgen -W \"${verbs[/$at]}\" -- \"$word\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "  fi\n"
      "}\n"
      "complete -o filenames -F _evenkeel evenkeel\n";
  return text;
}

std::string ZshScript(const std::vector<Node>& nodes) {
  const auto entry = [](const Word& word) {
    std::string escaped;
    for (const char c : word.text) escaped += c == ':' ? std::string("\\:") : std::string(1, c);
    return " " + Quoted(escaped + ":" + word.help, "'\\''");
  };
  std::string known;
  std::string next;
  for (const Node& node : nodes) {
    std::string verbs;
    std::string flags;
    for (const Word& verb : node.verbs) {
      known += (known.empty() ? "" : "|") + Quoted(node.path + "/" + verb.text, "'\\''");
      verbs += entry(verb);
    }
    for (const Word& flag : node.flags) flags += entry(flag);
    next += "    " + Quoted(node.path, "'\\''") + ") verbs=(" + verbs + " ) flags=(" + flags +
            " ) ;;\n";
  }
  return "#compdef evenkeel\n"
         "_evenkeel() {\n"
         "  local at= i\n"
         "  local -a verbs flags\n"
         "  for ((i = 2; i < CURRENT; i++)); do\n"
         "    case \"$at/${words[i]}\" in\n"
         "      " +
         known +
         ") at=\"${at:+$at }${words[i]}\" ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$at\" in\n" +
         next +
         "  esac\n"
         "  if [[ ${words[CURRENT]} == -* ]]; then _describe flag flags\n"
         "  elif (( ${#verbs} )); then _describe verb verbs\n"
         "  else _files; fi\n"
         "}\n"
         "if [[ $funcstack[1] == _evenkeel ]]; then _evenkeel \"$@\"; else compdef _evenkeel "
         "evenkeel; fi\n";
}

std::string FishScript(const std::vector<Node>& nodes) {
  std::string text;
  for (const Node& node : nodes) {
    // The node's verbs were typed, and none of those that may follow.
    std::string when;
    for (size_t at = 0; at < node.path.size();) {
      const size_t blank = std::min(node.path.find(' ', at), node.path.size());
      when += (when.empty() ? "" : "; and ") + std::string("__fish_seen_subcommand_from ") +
              node.path.substr(at, blank - at);
      at = blank + 1;
    }
    std::string next;
    for (const Word& verb : node.verbs) next += " " + verb.text;
    if (!next.empty())
      when +=
          (when.empty() ? "" : "; and ") + std::string("not __fish_seen_subcommand_from") + next;
    const std::string begin = "complete -c evenkeel -n " + Quoted(when, "\\'");
    for (const Word& verb : node.verbs) {
      text += begin + " -f -a " + verb.text + " -d " + Quoted(verb.help, "\\'") + "\n";
    }
    for (const Word& flag : node.flags) {
      const bool long_one = flag.text.starts_with("--");
      text += begin + (long_one ? " -l " + flag.text.substr(2) : " -s " + flag.text.substr(1)) +
              " -d " + Quoted(flag.help, "\\'") + "\n";
    }
  }
  return text;
}

}  // namespace

void RegisterCompletion(CLI::App& app) {
  CLI::App* completion = app.add_subcommand("completion", "Print a completion script for a shell");
  completion->footer(kExamples);
  auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, shell] {
    std::vector<Node> nodes;
    Collect(app, "", &nodes);
    const std::string script = *shell == "bash"  ? BashScript(nodes)
                               : *shell == "zsh" ? ZshScript(nodes)
                                                 : FishScript(nodes);
    std::fputs(script.c_str(), stdout);
  });
}

}  // namespace evenkeel
