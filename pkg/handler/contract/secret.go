package contract

// Names of secrets.
const (
	SecretDeployment = "deployment" // the deployment's id, which buckets are marked with; no secret in itself
	SecretDigest     = "digest"     // the key of digests
)
