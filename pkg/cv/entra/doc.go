// Package entra has the tokens of Entra ID for the Training API: the default Azure credential chain
// (azidentity), one token in memory, and the cloud that an endpoint belongs to.
//
// It is the only package that imports the Azure SDK. It never shows a token, a secret or an answer
// of Entra ID, and calls no Custom Vision resource.
package entra
