use super::*;

fn check_string(input: &[u8], expected: &str) {
    let mut out = Vec::new();
    string(input, &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected, "{input:?}");
}

#[test]
fn strings_are_quoted_or_literals() {
    check_string(b"", "\"\"");
    check_string(b"a b", "\"a b\"");
    check_string(b"a\"b\\", "\"a\\\"b\\\\\"");
    check_string(b"\"\"\"\"\"", "{5}\r\n\"\"\"\"\"");
    check_string("h\u{e9}".as_bytes(), "{3}\r\nh\u{e9}");
    check_string(b"a\r\nb", "{4}\r\na\r\nb");
    check_string(b"a\0b", "{5}\r\na\u{fffd}b");
}

fn check_envelope(header: &str, expected: &str) {
    let mut out = Vec::new();
    envelope(&Head::parse(header.as_bytes()), &mut out);
    assert_eq!(String::from_utf8_lossy(&out), expected, "{header:?}");
}

/// RFC 9051 §7.5.2.
#[test]
fn envelopes_are_written() {
    check_envelope(
        "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n\
         Subject: IMAP4rev2 WG mtg  summary\r\n and minutes\r\nTo: imap@cac.washington.edu\r\n\
         cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397-0100000@cac>\r\n",
        "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) \
         ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
         \"<B27397-0100000@cac>\")",
    );
    check_envelope("", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    check_envelope(
        "To: Group: a@b;\r\nReply-To:\r\nFrom: x\r\nIn-Reply-To: <1@2>\r\n",
        "(NIL NIL ((NIL NIL \"x\" \"MISSING_DOMAIN\")) ((NIL NIL \"x\" \"MISSING_DOMAIN\")) \
         ((NIL NIL \"x\" \"MISSING_DOMAIN\")) ((NIL NIL \"Group\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL)) NIL NIL \
         \"<1@2>\" NIL)",
    );
}

fn check_body(mail: &str, extended: bool, expected: &str) {
    let s = Structure::of(mail.as_bytes());
    let out = body(mail.as_bytes(), &s, extended);
    assert_eq!(String::from_utf8_lossy(&out), expected, "{mail:?}");
}

#[test]
fn structures_are_written() {
    check_body(
        "Subject: x\r\n\r\na\r\nb\r\n",
        false,
        "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 2)",
    );
    let mixed = "Content-Type: multipart/mixed; boundary=\"b\"\r\nContent-Language: en, de\r\n\r\n--b\r\n\
        Content-Type: TEXT/HTML; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--b\r\n\
        Content-Type: image/png; name=\"a.png\"\r\nContent-Disposition: attachment; filename=\"a.png\"\r\n\
        Content-Id: <1@2>\r\nContent-Description: A\r\n picture\r\nContent-MD5: zz\r\nContent-Location: /l\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n";
    check_body(
        mixed,
        false,
        "((\"TEXT\" \"HTML\" (\"charset\" \"utf-8\") NIL NIL \"quoted-printable\" 1 0)(\"image\" \"png\" (\"name\" \
         \"a.png\") \"<1@2>\" \"A picture\" \"base64\" 4) \"mixed\")",
    );
    check_body(
        mixed,
        true,
        "((\"TEXT\" \"HTML\" (\"charset\" \"utf-8\") NIL NIL \"quoted-printable\" 1 0 NIL NIL NIL NIL)(\"image\" \"png\" \
         (\"name\" \"a.png\") \"<1@2>\" \"A picture\" \"base64\" 4 \"zz\" (\"attachment\" (\"filename\" \"a.png\")) NIL \
         \"/l\") \"mixed\" (\"boundary\" \"b\") NIL (\"en\" \"de\") NIL)",
    );
    check_body(
        "Content-Type: multipart/mixed\r\n\r\n",
        false,
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")",
    );
    check_body(
        "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nhi\r\n",
        false,
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"text\" \
         \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1) 3)",
    );
}
