//! Whom to believe that a collector behind `https:` is the one that was meant.

use std::fs;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Certificates that were read from a file, as they stood there.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) pem: Vec<u8>,
    pub(super) parsed: Vec<CertificateDer<'static>>,
}

/// Reads the file; there must be one certificate at least.
pub(super) fn read(file: &str) -> Result<Certificates, String> {
    let pem = fs::read(file).map_err(|error| error.kind().to_string())?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let parsed = parsed.map_err(|error| error.to_string())?;
    if parsed.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(Certificates { pem, parsed })
}
