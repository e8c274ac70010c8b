// Package signature decides whether a driver's file may be loaded, by the Authenticode signature
// inside it.
//
// A [Policy] has roots, which [LoadRoots] reads from PEM files. [Policy.Check] takes a file,
// [Policy.CheckImage] its bytes; whoever loads an image hands over the very bytes that will be
// mapped, so that nothing can change in between. [Inspect] says what signatures there are, and
// judges none. A refusal is a [*RefusedError] and says what is wrong.
//
// What makes a signature good ("Windows Authenticode Portable Executable Signature Format"):
//   - the certificate table is whole, is the end of the file, holds nothing beside its entries, and
//     no section reaches into it;
//   - the PKCS#7 message has one signer, whose signature over the signed attributes, and whose
//     attributes over the content, are right; all digests are SHA-256, SHA-384 or SHA-512 (SHA-1
//     collides, MD5 more so);
//   - the content is the digest of this image: every byte of the file but the checksum, the
//     directory entry of the certificate table, and the table itself;
//   - the signer's certificate is for code signing, and a chain leads from it to a root, valid at
//     the time of the RFC 3161 counter-signature, if there is a good one that a chain leads from to
//     a root too, else at the time asked for.
//
// A file may have several signatures, side by side or one nested in another; one good one is
// enough. Page hashes, program names and counter-signatures older than RFC 3161 are not looked at.
// Revocation is not checked: that would take a network. A catalog's signature is not in the file.
//
// The PKCS#7 messages are read by ayoubfaouzi/pkcs7, which is what saferwall/pe uses. It recurses
// as deep as its input says and copies each level, so that a guard looks at sizes, depth and number
// of elements first. saferwall/pe's own verdict is not asked for: it adds the size of all headers
// to the offset of one, takes what it cannot place for an image without a table, and looks at
// neither the certificates' purpose nor the counter-signature.
//
// The package imports pe for the limit of a file's size. It has no locks; a Policy does not change.
package signature
