//! Documents as input of the server generator.

/// The largest document that the time limit of a run allows.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// The text that a document without operations would have, and the text for each of its bytes.
const MAX_CODE: (usize, usize) = (64 * 1024, 256);

/// Compiles a document.
///
/// # Panics
/// If the generator emits no Rust, other code on a second run, or no diagnostic.
pub fn generator(data: &[u8]) {
    let Ok(document) = std::str::from_utf8(data) else { return };
    if document.len() > MAX_DOCUMENT_BYTES {
        return;
    }
    match poem_contract::generate(document) {
        Ok(code) => {
            let (least, each) = MAX_CODE;
            assert!(code.len() <= least + each * document.len(), "{} bytes of code", code.len());
            if let Err(error) = syn::parse_file(&code) {
                panic!("{error} in the code of {document}");
            }
            assert_eq!(poem_contract::generate(document).as_ref(), Ok(&code), "a second run");
        }
        Err(error) => {
            assert!(!error.diagnostics.is_empty(), "a refusal without a reason");
            for diagnostic in &error.diagnostics {
                let pointer = &diagnostic.pointer;
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
                assert!(!diagnostic.message.is_empty(), "{pointer}");
            }
        }
    }
}
