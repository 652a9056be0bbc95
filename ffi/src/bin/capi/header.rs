//! The header as a list of what it declares.
//!
//! Invariant: what the header holds and this cannot read is an error, so that nothing escapes a
//! check.

use crate::{Outcome, Request, cargo, read, succeed};

/// What the header declares, in its order.
#[derive(Default)]
pub(crate) struct Header {
    /// Name and value.
    pub(crate) constants: Vec<(String, String)>,
    pub(crate) opaque: Vec<String>,
    /// Names for other types, as written.
    pub(crate) aliases: Vec<String>,
    pub(crate) records: Vec<Record>,
    pub(crate) functions: Vec<Function>,
}

pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    /// Type and name, as written.
    pub(crate) text: String,
}

pub(crate) struct Function {
    pub(crate) name: String,
    /// As written, on one line.
    pub(crate) text: String,
    /// The comment before it, on one line.
    pub(crate) words: String,
}

impl Header {
    pub(crate) fn of(request: &Request) -> Outcome<Self> {
        Self::parse(&read(&request.ffi.join("include/mesh_gossip.h"))?)
    }

    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mut header = Self::default();
        let mut rest = text;
        let mut words = String::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(header);
            }
            if let Some(comment) = rest.strip_prefix("/*") {
                let (inside, after) = split(comment, "*/")?;
                words = one_line(&inside.replace("\n * ", "\n"));
                rest = after;
            } else if rest.starts_with('#') {
                let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
                header.directive(line);
                rest = after;
            } else if let Some(after) =
                rest.strip_prefix("extern \"C\" {").or_else(|| rest.strip_prefix('}'))
            {
                // The seam for C++.
                rest = after.strip_prefix("  // extern \"C\"").unwrap_or(after);
            } else if rest.starts_with("static inline") {
                // Defined here, not in the library.
                rest = split(rest, "\n}")?.1;
            } else {
                let end = if rest.starts_with("typedef struct") && opens_body(rest) {
                    "\n}"
                } else {
                    ";"
                };
                let (statement, after) = split(rest, end)?;
                if end == ";" {
                    header.statement(statement, std::mem::take(&mut words))?;
                    rest = after;
                } else {
                    let (name, after) = split(after, ";")?;
                    header.record(name.trim(), statement)?;
                    rest = after;
                }
            }
        }
    }

    fn directive(&mut self, line: &str) {
        let mut parts = line.split_whitespace();
        if parts.next() == Some("#define")
            && let (Some(name), Some(value)) = (parts.next(), parts.next())
        {
            self.constants.push((name.to_owned(), value.to_owned()));
        }
    }

    fn statement(&mut self, statement: &str, words: String) -> Outcome {
        let text = one_line(statement);
        if let Some(alias) = text.strip_prefix("typedef ") {
            match alias.strip_prefix("struct ") {
                Some(names) => {
                    let name = names.split(' ').next_back().unwrap_or(names);
                    self.opaque.push(name.to_owned());
                }
                None => self.aliases.push(alias.to_owned()),
            }
            return Ok(());
        }
        let before = text.split('(').next().unwrap_or_default();
        let name = before.rsplit([' ', '*']).next().unwrap_or_default().to_owned();
        if !name.starts_with("mesh_gossip_") {
            return Err(format!("the header declares what this cannot read: {text}"));
        }
        self.functions.push(Function { name, text, words });
        Ok(())
    }

    fn record(&mut self, name: &str, body: &str) -> Outcome {
        let (_, mut rest) = split(body, "{")?;
        let mut fields = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            if let Some(comment) = rest.strip_prefix("/*") {
                rest = split(comment, "*/")?.1;
                continue;
            }
            let (field, after) = split(rest, ";")?;
            let text = one_line(field);
            let end = text.find('[').unwrap_or(text.len());
            let name = text[..end].rsplit([' ', '*']).next().unwrap_or_default().to_owned();
            fields.push(Field { name, text });
            rest = after;
        }
        self.records.push(Record { name: name.to_owned(), fields });
        Ok(())
    }
}

fn opens_body(rest: &str) -> bool {
    let first = rest.split(['{', ';']).next().unwrap_or_default();
    rest[first.len()..].starts_with('{')
}

fn split<'a>(text: &'a str, at: &str) -> Outcome<(&'a str, &'a str)> {
    text.split_once(at).ok_or_else(|| format!("the header ends before {at:?}"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The generator is a dependency of tests alone, so a test of that name does it.
pub(crate) fn run(request: &Request) -> Outcome {
    let mut test = cargo();
    test.args(["test", "--quiet", "-p", "mesh-gossip-ffi", "--test", "header"]);
    test.env("MESH_GOSSIP_HEADER", request.ffi.join("include/mesh_gossip.h"));
    if !request.check {
        test.env("MESH_GOSSIP_WRITE_HEADER", "1");
    }
    succeed(&mut test)
        .map_err(|error| format!("the header is not what the sources say: {error}"))?;
    println!("header: include/mesh_gossip.h is what the sources say");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_declares_is_found() {
        let text = "/*\n It is done.\n */\n#define MESH_GOSSIP_OK 0\n#ifdef __cplusplus\n\
            typedef struct mesh_gossip_agent mesh_gossip_agent;\n\
            typedef int32_t mesh_gossip_result;\n\
            typedef void (*mesh_gossip_wake_fn)(void *user);\n\
            typedef struct mesh_gossip_bytes {\n  /*\n   First; byte.\n   */\n  \
            const uint8_t *data;\n  uint8_t id[16];\n} mesh_gossip_bytes;\n\
            extern \"C\" {\n/*\n Frees; NULL\n is fine.\n */\n\
            mesh_gossip_result mesh_gossip_free(struct mesh_gossip_agent *agent,\n   int b);\n\
            const char *mesh_gossip_name(void);\n}  // extern \"C\"\n";
        let header = Header::parse(text).unwrap();
        assert_eq!(header.constants, [("MESH_GOSSIP_OK".to_owned(), "0".to_owned())]);
        assert_eq!(header.opaque, ["mesh_gossip_agent"]);
        assert_eq!(header.aliases.len(), 2);
        let fields: Vec<&str> =
            header.records[0].fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(fields, ["data", "id"]);
        let names: Vec<&str> = header.functions.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["mesh_gossip_free", "mesh_gossip_name"]);
        assert_eq!(header.functions[0].words, "Frees; NULL is fine.");
        assert_eq!(header.functions[1].words, "");
        assert!(Header::parse("int somebody_elses(void);").is_err());
    }
}
