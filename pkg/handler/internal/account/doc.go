// Package account tells accounts of the Custom Vision service apart.
//
// account.go names the account that a resource's alias means, and compares it with the one that an
// earlier command was about. control.go knows whether the credential that answers is the account's:
// to the key of another account everything is not found.
package account
