//! A service's name, when none is configured: `OTEL_SERVICE_NAME`, else the script or module that the process runs.

/// Characters of a name.
pub const MAX_NAME: usize = 64;

/// The name by the process's environment and arguments, else `fallback`.
pub fn service_name(environment: &[Vec<u8>], arguments: &[Vec<u8>], fallback: &str) -> String {
    from_environment(environment)
        .or_else(|| from_arguments(arguments))
        .unwrap_or_else(|| printable(fallback.as_bytes()).unwrap_or_else(|| "python".to_owned()))
}

fn from_environment(environment: &[Vec<u8>]) -> Option<String> {
    environment
        .iter()
        .find_map(|entry| printable(entry.strip_prefix(b"OTEL_SERVICE_NAME=")?))
}

fn from_arguments(arguments: &[Vec<u8>]) -> Option<String> {
    let (program, rest) = arguments.split_first()?;
    let program = base(program);
    if !program.starts_with(b"python") && !program.starts_with(b"pypy") {
        // A script through its `#!` line puts the interpreter first, and so does not come here: this is an embedder.
        return script(program);
    }
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_slice() {
            b"-m" => return module(rest.next()?, rest.as_slice()),
            b"-c" | b"-" => return None,
            // These take a value of their own.
            b"-W" | b"-X" | b"--check-hash-based-pycs" => {
                rest.next();
            }
            option if option.starts_with(b"-") && option.len() > 1 => {
                if let Some(name) = option.strip_prefix(b"-m") {
                    return module(name, rest.as_slice());
                }
                // `-Im`, `-sm module`: short options in one word. `-Wx` and `-Xx` carry their value.
                let flags = &option[1..];
                if !option.starts_with(b"--") && !matches!(flags[0], b'W' | b'X') {
                    match flags[flags.len() - 1] {
                        b'm' => return module(rest.next()?, rest.as_slice()),
                        b'c' => return None,
                        _ => {}
                    }
                }
            }
            path => return served(base(path), rest.as_slice()),
        }
    }
    None
}

/// A module's name; of a server the application that it serves.
fn module(name: &[u8], rest: &[Vec<u8>]) -> Option<String> {
    served(name, rest).or_else(|| printable(name))
}

/// Of `gunicorn app.main:app` and the like the application; else the script.
fn served(program: &[u8], rest: &[Vec<u8>]) -> Option<String> {
    const SERVERS: [&[u8]; 5] = [b"gunicorn", b"uvicorn", b"hypercorn", b"daphne", b"granian"];
    if SERVERS.contains(&program) {
        let application = rest.iter().find_map(|argument| {
            let at = argument.iter().position(|b| *b == b':')?;
            let (module, object) = (&argument[..at], &argument[at + 1..]);
            let word = |part: &[u8]| {
                part.first()
                    .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
                    && part
                        .iter()
                        .all(|b| b.is_ascii_alphanumeric() || b"_.()".contains(b))
            };
            (word(module) && word(object)).then_some(module)
        });
        return printable(application.unwrap_or(program));
    }
    script(program)
}

fn script(name: &[u8]) -> Option<String> {
    printable(name.strip_suffix(b".py").unwrap_or(name))
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// At most [`MAX_NAME`] printable characters; nothing if none are left.
fn printable(bytes: &[u8]) -> Option<String> {
    // Four bytes a character at most, and a little more for what is dropped.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(8 * MAX_NAME)]);
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
    };
    let name: String = text.chars().filter(|c| !hidden(*c)).take(MAX_NAME).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn named(line: &str) -> String {
        service_name(&[], &words(line), "python3.12")
    }

    #[test]
    fn what_it_runs_names_it() {
        for (line, name) in [
            ("python3 /srv/app/proxy.py --port 80", "proxy"),
            ("/usr/bin/python3.12 -X dev -W error -u proxy.py", "proxy"),
            ("python -m mcp_hangar serve", "mcp_hangar"),
            ("python -Im mcp_hangar", "mcp_hangar"),
            ("python -mmcp_hangar", "mcp_hangar"),
            ("python3 -Xdev -Wm proxy.py", "proxy"),
            (
                "/usr/bin/python3 /usr/local/bin/gunicorn -w 4 -b 0.0.0.0:8000 app.main:app",
                "app.main",
            ),
            ("python3 -m uvicorn --host 127.0.0.1 shop:create()", "shop"),
            ("python3 /usr/local/bin/gunicorn -c conf.py", "gunicorn"),
            ("/usr/bin/python3 /usr/local/bin/mcp-proxy", "mcp-proxy"),
            ("/usr/sbin/uwsgi --ini x", "uwsgi"),
            ("python3 -c print(1)", "python3.12"),
            ("python3 -", "python3.12"),
            ("python3", "python3.12"),
            ("python3 -m", "python3.12"),
        ] {
            assert_eq!(named(line), name, "{line}");
        }
        assert_eq!(service_name(&[], &[], "\n"), "python");
    }

    #[test]
    fn its_environment_wins() {
        let environment = words("PATH=/bin XOTEL_SERVICE_NAME=no OTEL_SERVICE_NAME=billing");
        assert_eq!(service_name(&environment, &words("python3 a.py"), "x"), "billing");
        let empty = words("OTEL_SERVICE_NAME=");
        assert_eq!(service_name(&empty, &words("python3 a.py"), "x"), "a");
    }

    #[test]
    fn names_are_short_and_printable() {
        let long = vec![format!("OTEL_SERVICE_NAME={}", "é".repeat(5000)).into_bytes()];
        assert_eq!(service_name(&long, &[], "x"), "é".repeat(64));
        let hostile = vec![b"OTEL_SERVICE_NAME=\x1b[31mred\n\xff\xe2\x80\xaex".to_vec()];
        assert_eq!(service_name(&hostile, &[], "x"), "[31mredx");
    }

    proptest! {
        #[test]
        fn any_arguments_are_safe(arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..6)) {
            let mut line = vec![b"python".to_vec()];
            line.extend(arguments);
            let name = service_name(&[], &line, "x");
            prop_assert!(!name.is_empty() && name.chars().count() <= MAX_NAME);
            prop_assert!(!name.chars().any(char::is_control));
        }
    }
}
