//! The document as a page: plain HTML, an anchor for each operation and each schema.

use serde_json::Value;
use std::fmt::{self, Write};

/// The page's one style; its hash is in the policy that comes with the page.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h2{margin-top:3rem;border-bottom:1px solid}h3{margin:2.5rem 0 .5rem;font-size:1.05rem}\
code,pre{font:.9em ui-monospace,monospace}pre{overflow:auto;padding:.5rem;border:1px solid #8886}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #8884}\
b{text-transform:uppercase}nav ul{columns:2;padding-left:1rem}a{color:inherit}";

/// The whole page.
pub(super) fn page(document: &Value) -> String {
    let mut page = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_page(&mut page, document);
    page
}

fn write_page(out: &mut String, document: &Value) -> fmt::Result {
    let title = escape(text(&document["info"]["title"]));
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>{title} API {}</h1>",
        escape(text(&document["info"]["version"]))
    )?;
    paragraph(out, &document["info"]["description"])?;
    out.push_str("<p>Made of <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>");
    write_contents(out, document)?;
    for tag in document["tags"].as_array().into_iter().flatten() {
        write!(out, "<section><h2>{}</h2>", escape(text(&tag["name"])))?;
        paragraph(out, &tag["description"])?;
        for (path, method, operation) in operations(document, &tag["name"]) {
            write_operation(out, document, path, method, operation)?;
        }
        out.push_str("</section>");
    }
    out.push_str("<section><h2>schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        write!(
            out,
            "<h3 id=\"schema-{0}\"><a href=\"#schema-{0}\">{0}</a></h3>",
            escape(name)
        )?;
        paragraph(out, &schema["description"])?;
        write_fields(out, schema)?;
        write_examples(out, schema)?;
    }
    out.push_str("</section></body></html>\n");
    Ok(())
}

fn write_contents(out: &mut String, document: &Value) -> fmt::Result {
    out.push_str("<nav><ul>");
    for tag in document["tags"].as_array().into_iter().flatten() {
        for (path, method, operation) in operations(document, &tag["name"]) {
            let id = escape(text(&operation["operationId"]));
            write!(
                out,
                "<li><a href=\"#{id}\"><code><b>{}</b> {}</code></a></li>",
                escape(method),
                escape(path)
            )?;
        }
    }
    out.push_str("</ul></nav>");
    Ok(())
}

/// Path, method and description of each operation with this tag.
fn operations<'d>(document: &'d Value, tag: &'d Value) -> impl Iterator<Item = (&'d str, &'d str, &'d Value)> {
    let all = members(&document["paths"])
        .flat_map(|(path, methods)| members(methods).map(move |(method, operation)| (path, method, operation)));
    all.filter(move |(_, _, operation)| operation["tags"][0] == *tag)
}

fn write_operation(out: &mut String, document: &Value, path: &str, method: &str, operation: &Value) -> fmt::Result {
    let id = escape(text(&operation["operationId"]));
    write!(
        out,
        "<h3 id=\"{id}\"><a href=\"#{id}\"><code><b>{}</b> {}</code></a></h3>",
        escape(method),
        escape(path)
    )?;
    paragraph(out, &operation["summary"])?;
    paragraph(out, &operation["description"])?;
    write_credentials(out, &operation["security"])?;
    if let Some(parameters) = operation["parameters"].as_array() {
        out.push_str("<table><tr><th>parameter<th>in<th>type<th></tr>");
        for parameter in parameters {
            let required = if parameter["required"] == true {
                ", required"
            } else {
                ""
            };
            write!(
                out,
                "<tr><td><code>{}</code><td>{}{required}<td>{}<td>{}</tr>",
                escape(text(&parameter["name"])),
                escape(text(&parameter["in"])),
                kind(&parameter["schema"]),
                prose(text(&parameter["description"])),
            )?;
        }
        out.push_str("</table>");
    }
    for (media, content) in members(&operation["requestBody"]["content"]) {
        write!(
            out,
            "<p>Body: <code>{}</code>, {}</p>",
            escape(media),
            kind(&content["schema"])
        )?;
        write_example(out, &content["example"])?;
    }
    out.push_str("<table><tr><th>status<th><th>body<th>headers</tr>");
    for (status, response) in members(&operation["responses"]) {
        let reference = response["$ref"].as_str().unwrap_or_default();
        let response = document
            .pointer(reference.trim_start_matches('#'))
            .filter(|_| !reference.is_empty())
            .unwrap_or(response);
        let bodies: Vec<_> = members(&response["content"])
            .map(|(media, content)| format!("<code>{}</code> {}", escape(media), kind(&content["schema"])))
            .collect();
        let headers: Vec<_> = members(&response["headers"])
            // What every answer has is said once, in docs/API.md.
            .filter(|(name, _)| !name.contains("RateLimit") && *name != "X-Request-Id")
            .map(|(name, _)| escape(name))
            .collect();
        write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}</tr>",
            escape(status),
            prose(text(&response["description"])),
            bodies.join(", "),
            headers.join(", ")
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

fn write_credentials(out: &mut String, security: &Value) -> fmt::Result {
    let wanted: Vec<_> = security
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(members)
        .map(|(scheme, scopes)| {
            let scopes = scopes.as_array().into_iter().flatten().map(text);
            let scopes: Vec<_> = scopes.map(|scope| format!("<code>{}</code>", escape(scope))).collect();
            if scopes.is_empty() {
                escape(scheme)
            } else {
                format!("{} (API key: {})", escape(scheme), scopes.join(", "))
            }
        })
        .collect();
    if wanted.is_empty() {
        out.push_str("<p>Open to all.</p>");
        Ok(())
    } else {
        write!(out, "<p>Credentials: {}.</p>", wanted.join(" or "))
    }
}

/// The fields of an object, or the kind of anything else.
fn write_fields(out: &mut String, schema: &Value) -> fmt::Result {
    if schema["properties"].is_null() {
        return write!(out, "<p>{}</p>", kind(schema));
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    out.push_str("<table><tr><th>field<th>type<th></tr>");
    for (name, field) in members(&schema["properties"]) {
        let optional = if required.contains(&name) { "" } else { ", optional" };
        write!(
            out,
            "<tr><td><code>{}</code><td>{}{optional}<td>{}</tr>",
            escape(name),
            kind(field),
            prose(text(&field["description"]))
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

fn write_examples(out: &mut String, schema: &Value) -> fmt::Result {
    let several = schema["examples"].as_array().into_iter().flatten();
    for example in several.chain([&schema["example"]]) {
        write_example(out, example)?;
    }
    Ok(())
}

fn write_example(out: &mut String, example: &Value) -> fmt::Result {
    if example.is_null() {
        return Ok(());
    }
    let example = serde_json::to_string_pretty(example).unwrap_or_default();
    write!(out, "<pre>{}</pre>", escape(&example))
}

/// What a value may be, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for (word, joint) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(kinds) = schema[word].as_array() {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(joint);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())))
            .collect();
        return values.join(" ");
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::String(name) => name.clone(),
        _ => "anything".to_owned(),
    };
    let mut words = escape(&names);
    if !schema["items"].is_null() {
        let _ = write!(words, " of {}", kind(&schema["items"]));
    }
    for (word, shown) in [
        ("format", ""),
        ("minimum", "from "),
        ("maximum", "to "),
        ("minLength", "characters from "),
        ("maxLength", "characters to "),
        ("minItems", "items from "),
        ("maxItems", "items to "),
        ("pattern", ""),
        ("default", "default "),
    ] {
        let value = &schema[word];
        if !value.is_null() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = write!(words, ", {shown}<code>{}</code>", escape(&value));
        }
    }
    words
}

fn paragraph(out: &mut String, value: &Value) -> fmt::Result {
    match value.as_str() {
        Some(value) if !value.is_empty() => write!(out, "<p>{}</p>", prose(value)),
        _ => Ok(()),
    }
}

/// Text in which backticks stand around code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| {
        if index % 2 == 1 {
            format!("<code>{}</code>", escape(part))
        } else {
            escape(part)
        }
    });
    parts.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let map = value.as_object().into_iter().flatten();
    map.map(|(name, value)| (name.as_str(), value))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{kind, page, prose};
    use serde_json::json;

    #[test]
    fn what_is_in_the_document_stays_text() {
        let hostile = json!({ "info": { "title": "<script>", "description": "a `b<c` & \"d\"" } });
        let page = page(&hostile);
        assert!(page.contains("<h1>&lt;script&gt;") && page.contains("a <code>b&lt;c</code> &amp; &quot;d&quot;"));
        assert_eq!(prose("`a`"), "<code>a</code>");
    }

    #[test]
    fn a_kind_is_told_in_a_few_words() {
        for (schema, words) in [
            (
                json!({ "$ref": "#/components/schemas/Role" }),
                "<a href=\"#schema-Role\">Role</a>",
            ),
            (
                json!({ "type": ["integer", "null"], "minimum": 1, "maximum": 2 }),
                "integer or null, from <code>1</code>, to <code>2</code>",
            ),
            (
                json!({ "type": "array", "items": { "type": "string" } }),
                "array of string",
            ),
            (json!({}), "anything"),
        ] {
            assert_eq!(kind(&schema), words);
        }
    }
}
