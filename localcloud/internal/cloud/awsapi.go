package cloud

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// RootKeyVariable and RootSecretVariable are where the double of KMS and STS
	// looks for the administrator's access key.
	RootKeyVariable    = "ROOT_ACCESS_KEY"
	RootSecretVariable = "ROOT_SECRET_KEY"

	awsAPIContainer = network + "-awsapi"
	roleAWSAPI      = "awsapi"
	// awsAPIStateDir and awsAPIKeysDir are the double's directories in its
	// container: what the control plane knows, to be read, and the keys of KMS.
	awsAPIStateDir = "/cloud"
	awsAPIKeysDir  = "/kms"
)

// AWSAPIEndpoint is where KMS and STS are reached from this machine.
func AWSAPIEndpoint() string { return "https://" + awsAPIAddress().String() }

// StartAWSAPI starts the double of KMS and STS and waits until it answers.
func (l *Local) StartAWSAPI(ctx context.Context) error {
	root, err := l.ensureRootAccount()
	if err != nil {
		return fmt.Errorf("double of KMS and STS: %w", err)
	}
	keys := filepath.Join(l.home.Cloud(), "kms")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		return fmt.Errorf("double of KMS and STS: %w", err)
	}
	suffix := "." + Region + ".amazonaws.com"
	return l.startService(ctx, service{
		name: awsAPIContainer, role: roleAWSAPI, address: awsAPIAddress(), port: httpsPort,
		hosts: []string{"kms" + suffix, "sts" + suffix},
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
			// The directory, since the file in it is replaced by each change.
			filepath.Dir(l.home.AWSFile()) + ":" + awsAPIStateDir + ":ro",
			keys + ":" + awsAPIKeysDir,
		},
		environment: []string{RootKeyVariable + "=" + root.AccessKeyID, RootSecretVariable + "=" + root.SecretAccessKey},
		command: []string{program, "awsapi", "-certificate", "/tls/awsapi.pem", "-key", "/tls/awsapi.key",
			"-state", awsAPIStateDir + "/" + filepath.Base(l.home.AWSFile()), "-keys", awsAPIKeysDir + "/keys.json"},
	})
}
