// Package account tells accounts of the Custom Vision service apart, and whether a 404 of one is
// proof.
//
// account.go names the account that a resource's alias means, and compares it with the one that an
// earlier command was about. control.go knows whether the credential that answers is the account's:
// to the key of another account everything is not found. listings.go remembers for a few seconds
// which projects the service listed for another command. absence.go says when something is gone:
// the service says that this very thing is not there, the account is under control, and a project
// was asked for again. digests.go and seals.go read the keys for digests of commands and for seals
// of their objects.
package account
