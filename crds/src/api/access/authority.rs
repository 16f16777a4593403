//! The authority that signs the certificates of the API, and the admin token, as files.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::AccessError;
use super::private;

/// How long the authority lasts, in days.
const AUTHORITY_DAYS: i32 = 3_650;
/// How long what it signs lasts, in days. The authority must last as long.
const SIGNED_DAYS: i32 = 365;
/// The most that is read of a file here.
const FILE_BYTES: u64 = 64 * 1024;

/// Signs certificates.
pub(super) struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both as PEM.
pub(super) struct Signed {
    /// The certificate.
    pub(super) certificate: String,
    /// The private key.
    pub(super) key: String,
}

fn failed(error: impl std::fmt::Display) -> AccessError {
    AccessError::Certificate(error.to_string())
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> AccessError {
    AccessError::Damaged {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

fn on_file(path: &Path) -> impl FnOnce(io::Error) -> AccessError {
    let path = path.display().to_string();
    move |source| AccessError::File { path, source }
}

/// The content of a file, or nothing where there is none.
fn read(path: &Path) -> Result<Option<String>, AccessError> {
    use io::Read as _;
    match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(on_file(path)(error)),
        Ok(file) => {
            let mut text = String::new();
            file.take(FILE_BYTES)
                .read_to_string(&mut text)
                .map_err(on_file(path))?;
            Ok(Some(text))
        }
    }
}

/// The admin token, made where there is none.
pub(super) fn token(dir: &Path) -> Result<String, AccessError> {
    let path = dir.join("admin-token");
    if let Some(text) = read(&path)? {
        let token = text.trim();
        if token.len() < 32 || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(damaged(&path, "it does not hold a token"));
        }
        return Ok(token.to_owned());
    }
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| failed("the system gives no randomness"))?;
    let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    private::write(&path, format!("{token}\n").as_bytes()).map_err(on_file(&path))?;
    Ok(token)
}

/// The user and the groups that a certificate names.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<(String, Vec<String>)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok().map(str::to_owned))
        .collect();
    Some((name, groups))
}

impl Authority {
    /// Reads the authority in `dir`, or makes it where there is none or where it ends so soon that
    /// what it signs would outlive it.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Self, AccessError> {
        private::make_dir(dir).map_err(on_file(dir))?;
        let (key_path, path) = (dir.join("ca.key"), dir.join("ca.crt"));
        if let (Some(key), Some(pem)) = (read(&key_path)?, read(&path)?) {
            let found = Self::load(&key_path, &key, &path, pem)?;
            if found.ends(&path)? > now.as_second() + i64::from(SIGNED_DAYS) * 86_400 {
                return Ok(found);
            }
            tracing::warn!(
                "the certificate authority of the API ends soon and is replaced: kubeconfigs and \
                 client certificates that were copied elsewhere must be copied again"
            );
        }
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The name is new each time, so that an old authority is not taken for the new one.
        let name = format!("heddle-ca@{}", now.as_second());
        params.distinguished_name.push(DnType::CommonName, name);
        period(&mut params, now, AUTHORITY_DAYS)?;
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        let key_pem = key.serialize_pem();
        // The key goes first: a key without a certificate is replaced at the next start.
        let _ = std::fs::remove_file(&path);
        private::write(&key_path, key_pem.as_bytes()).map_err(on_file(&key_path))?;
        private::write(&path, pem.as_bytes()).map_err(on_file(&path))?;
        Self::load(&key_path, &key_pem, &path, pem)
    }

    fn load(key_path: &Path, key: &str, path: &Path, pem: String) -> Result<Self, AccessError> {
        let key = KeyPair::from_pem(key).map_err(|e| damaged(key_path, e))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| damaged(path, e))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| damaged(path, e))?;
        Ok(Self { pem, der, issuer })
    }

    /// When the authority ends, in Unix seconds.
    fn ends(&self, path: &Path) -> Result<i64, AccessError> {
        let (_, certificate) =
            X509Certificate::from_der(&self.der).map_err(|e| damaged(path, e))?;
        Ok(certificate.validity().not_after.timestamp())
    }

    /// Its certificate as PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate for the server under these names and addresses.
    pub(super) fn server(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<CertifiedKey, AccessError> {
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "heddle");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = self.sign(params, now)?;
        let chain =
            CertificateDer::from_pem_slice(signed.certificate.as_bytes()).map_err(failed)?;
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).map_err(failed)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(failed)?;
        Ok(CertifiedKey::new(vec![chain], key))
    }

    /// A certificate for a user in a group.
    pub(super) fn client(
        &self,
        user: &str,
        group: &str,
        now: Timestamp,
    ) -> Result<Signed, AccessError> {
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, now)
    }

    fn sign(&self, mut params: CertificateParams, now: Timestamp) -> Result<Signed, AccessError> {
        period(&mut params, now, SIGNED_DAYS)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Lets a certificate begin yesterday, since clocks differ, and end after so many days.
fn period(params: &mut CertificateParams, now: Timestamp, days: i32) -> Result<(), AccessError> {
    let date = |days: i32| {
        let day = now.to_zoned(TimeZone::UTC).date();
        let day = day.checked_add(days.days()).map_err(failed)?;
        let number = |n: i8| u8::try_from(n).map_err(failed);
        Ok::<_, AccessError>(rcgen::date_time_ymd(
            i32::from(day.year()),
            number(day.month())?,
            number(day.day())?,
        ))
    };
    params.not_before = date(-1)?;
    params.not_after = date(days)?;
    Ok(())
}
