//! Scripts that write legacy exceptions folded, `(try (do ...) (catch ...))`, which the parser of scripts no longer
//! knows: rewritten to the flat form, `try ... catch ... end`, line for line.

/// A piece of a script.
enum Node<'a> {
    /// Anything without parentheses of its own.
    Atom(&'a str),
    List(Vec<Node<'a>>),
    Newline,
}

/// Unfolds the instructions of all functions. Line breaks stay, comments go.
pub fn unfold(script: &str) -> String {
    let mut rest = script;
    let nodes = nodes(&mut rest);
    let mut out = String::with_capacity(script.len());
    nodes.iter().for_each(|n| plain(n, &mut out));
    out
}

/// The nodes up to the parenthesis that closes them, or to the end.
fn nodes<'a>(rest: &mut &'a str) -> Vec<Node<'a>> {
    let mut out = Vec::new();
    while let Some(c) = rest.chars().next() {
        let len = match c {
            ')' => {
                *rest = &rest[1..];
                break;
            }
            '(' if rest.starts_with("(;") => {
                let comment = block_comment(rest);
                out.extend(rest[..comment].matches('\n').map(|_| Node::Newline));
                comment
            }
            '(' => {
                *rest = &rest[1..];
                out.push(Node::List(nodes(rest)));
                continue;
            }
            '\n' => {
                out.push(Node::Newline);
                1
            }
            ';' if rest.starts_with(";;") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_whitespace() => c.len_utf8(),
            _ => {
                let len = atom(rest);
                out.push(Node::Atom(&rest[..len]));
                len
            }
        };
        *rest = &rest[len..];
    }
    out
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    for (i, pair) in rest.as_bytes().windows(2).enumerate() {
        match pair {
            b"(;" => depth += 1,
            b";)" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return i + 2;
        }
    }
    rest.len()
}

fn atom(rest: &str) -> usize {
    if !rest.starts_with('"') {
        return rest.find(|c: char| c.is_whitespace() || "()\";".contains(c)).unwrap_or(rest.len()).max(1);
    }
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

fn head<'a>(list: &[Node<'a>]) -> &'a str {
    let first = list.iter().find(|n| !matches!(n, Node::Newline));
    if let Some(Node::Atom(head)) = first { head } else { "" }
}

/// A node as it is, except that functions in it are unfolded.
fn plain(node: &Node<'_>, out: &mut String) {
    match node {
        Node::Newline => out.push('\n'),
        Node::Atom(text) => {
            out.push_str(text);
            out.push(' ');
        }
        Node::List(list) => {
            out.push('(');
            let function = head(list) == "func";
            for node in list {
                match node {
                    Node::List(inner) if function && !is_declaration(inner) => instruction(inner, out),
                    other => plain(other, out),
                }
            }
            out.push(')');
        }
    }
}

/// Whether the list belongs to the head of a function or block, or is an immediate.
fn is_declaration(list: &[Node<'_>]) -> bool {
    matches!(head(list), "type" | "param" | "result" | "local" | "export" | "import")
}

fn sequence(nodes: &[Node<'_>], out: &mut String) {
    for node in nodes {
        match node {
            Node::List(list) => instruction(list, out),
            other => plain(other, out),
        }
    }
}

/// A folded instruction, unfolded.
fn instruction(list: &[Node<'_>], out: &mut String) {
    let head = head(list);
    let rest = &list[list.iter().take_while(|n| matches!(n, Node::Newline)).count() + usize::from(!head.is_empty())..];
    let immediates = |n: &Node<'_>| match n {
        Node::Atom(_) => true,
        Node::List(l) => is_declaration(l),
        Node::Newline => false,
    };
    if !matches!(head, "block" | "loop" | "try" | "if") {
        rest.iter().filter(|n| !immediates(n)).for_each(|n| sequence(std::slice::from_ref(n), out));
        out.push_str(head);
        out.push(' ');
        rest.iter().filter(|n| immediates(n)).for_each(|n| plain(n, out));
        return;
    }
    // Label and type, then the body, or clauses.
    let body = rest.iter().position(|n| !immediates(n) && !matches!(n, Node::Newline)).unwrap_or(rest.len());
    let (start, body) = rest.split_at(body);
    let open = |out: &mut String| {
        out.push_str(head);
        out.push(' ');
        start.iter().for_each(|n| plain(n, out));
    };
    if matches!(head, "block" | "loop") {
        open(out);
        sequence(body, out);
        out.push_str("end ");
        return;
    }
    if head == "try" {
        open(out);
    }
    let mut delegated = false;
    for node in body {
        let Node::List(clause) = node else {
            plain(node, out);
            continue;
        };
        match self::head(clause) {
            "do" => sequence(after_head(clause), out),
            "then" => {
                open(out);
                sequence(after_head(clause), out);
            }
            name @ ("else" | "catch" | "catch_all" | "delegate") => {
                delegated |= name == "delegate";
                out.push_str(name);
                out.push(' ');
                sequence(after_head(clause), out);
            }
            _ => instruction(clause, out),
        }
    }
    out.push_str(if delegated { "" } else { "end " });
}

fn after_head<'a, 'b>(clause: &'b [Node<'a>]) -> &'b [Node<'a>] {
    &clause[clause.iter().take_while(|n| matches!(n, Node::Newline)).count() + 1..]
}

#[cfg(test)]
mod tests {
    use super::unfold;

    fn words(text: &str) -> String {
        unfold(text).replace('(', " ( ").replace(')', " ) ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn clauses() {
        assert_eq!(
            words(
                "(func (param i32) (try $l (result i32) (do (f (i32.const 1))) (catch $e (drop)) (catch_all (nop))))"
            ),
            "( func ( param i32 ) try $l ( result i32 ) i32.const 1 f catch $e drop catch_all nop end )"
        );
        assert_eq!(words("(func (try (do (nop)) (delegate 0)))"), "( func try nop delegate 0 )");
        assert_eq!(
            words("(func (if (result i32) (local.get 0) (then (a)) (else (b))))"),
            "( func local.get 0 if ( result i32 ) a else b end )"
        );
        assert_eq!(words("(func (block $b (br $b)))"), "( func block $b br $b end )");
        assert_eq!(
            words("(func (call_indirect (type $t) (i32.const 0)))"),
            "( func i32.const 0 call_indirect ( type $t ) )"
        );
    }

    #[test]
    fn what_is_no_function_stays() {
        assert_eq!(words("(assert_return (invoke \"f\" (i32.const 1)) (i32.const ;; x\n 2))").matches('(').count(), 4);
        assert_eq!(
            words("(module quote \"(func ;; \\\" )\")"),
            words("(module quote \"(func ;; \\\" )\" (; a (; b ;) ;))")
        );
    }

    #[test]
    fn lines_stay() {
        let text = "(func\n (; \n ;) (try\n (do\n (nop))\n (catch_all)))\n;; end\n(x)";
        assert_eq!(unfold(text).lines().count(), text.lines().count());
    }
}
