package awsapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

// Limits and defaults of KMS.
const (
	maxPlaintext = 4096 // bytes
	maxRotations = 10   // on-demand rotations of one key
	rotationDays = 365  // the default period of automatic rotation
	// The waiting period before a key is deleted, in days. Default: maxWaiting.
	minWaiting, maxWaiting = 7, 30
)

const algorithm = "SYMMETRIC_DEFAULT"

type action struct {
	// parameters lists the supported parameters, separated by spaces. A request with any other parameter is rejected,
	// because ignoring the parameter could change its meaning.
	parameters string
	// key is what the action requires of the key in KeyId.
	key requirement
	do  func(r *request, k *key) (any, error)
}

// requirement is a set of checks on the key of a request, which precede the action.
type requirement int

const (
	noKey      requirement = 0
	permitted  requirement = 1 << iota // the caller's policies allow the action on the key
	byAlias                            // an alias can identify the key
	notPending                         // the key is not pending deletion
	enabled                            // the key is not disabled
)

func kmsActions() map[string]action {
	const mutable, usable = permitted | notPending, permitted | notPending | enabled
	const common = "KeyId GrantTokens EncryptionContext "
	return map[string]action{
		"CreateKey":            {"Description KeyUsage KeySpec Tags", noKey, (*request).createKey},
		"DescribeKey":          {"KeyId GrantTokens", permitted | byAlias, (*request).describeKey},
		"EnableKey":            {"KeyId", mutable, setState(stateEnabled)},
		"DisableKey":           {"KeyId", mutable, setState(stateDisabled)},
		"ScheduleKeyDeletion":  {"KeyId PendingWindowInDays", mutable, (*request).scheduleKeyDeletion},
		"CancelKeyDeletion":    {"KeyId", permitted, (*request).cancelKeyDeletion},
		"CreateAlias":          {"AliasName TargetKeyId", noKey, (*request).createAlias},
		"DeleteAlias":          {"AliasName", noKey, (*request).deleteAlias},
		"EnableKeyRotation":    {"KeyId", usable, (*request).enableKeyRotation},
		"GetKeyRotationStatus": {"KeyId", permitted, (*request).getKeyRotationStatus},
		"RotateKeyOnDemand":    {"KeyId", usable, (*request).rotateKeyOnDemand},
		"Encrypt":              {common + "EncryptionAlgorithm Plaintext", usable | byAlias, (*request).encrypt},
		"Decrypt":              {common + "EncryptionAlgorithm CiphertextBlob", noKey, (*request).decrypt},
	}
}

// parameters holds the parameters of all actions. Grants are not supported.
type parameters struct {
	KeyID                          string `json:"KeyId"`
	TargetKeyID                    string `json:"TargetKeyId"`
	AliasName                      string
	Description, KeyUsage, KeySpec string
	Tags                           []tag
	PendingWindowInDays            *int
	EncryptionContext              map[string]string
	EncryptionAlgorithm            string
	Plaintext, CiphertextBlob      []byte
}

type tag struct {
	TagKey, TagValue string
}

// request is a request to KMS. The lock on the keyring is held while it is handled.
type request struct {
	*Server
	action string // kms:NAME
	caller caller.Caller
	parameters
}

// handle performs the action and returns a response to encode as JSON, or nil for an empty one.
func (r *request) handle(a action, body []byte) (any, error) {
	given := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(body)) > 0 {
		err := json.Unmarshal(body, &given)
		for name := range given {
			if !slices.Contains(strings.Fields(a.parameters), name) {
				err = fmt.Errorf("unknown parameter %s", name)
			}
		}
		if err == nil {
			err = json.Unmarshal(body, &r.parameters)
		}
		if err != nil {
			return nil, apiErrorf("ValidationException", "localcloud cannot handle this %s request: %s", r.action, err)
		}
	}
	r.kms.deleteExpired(r.settings.Now())
	var k *key
	var err error
	if a.key != noKey {
		k, err = r.find(r.KeyID, a.key)
	}
	switch {
	case err != nil:
		return nil, err
	case r.EncryptionAlgorithm != "" && r.EncryptionAlgorithm != algorithm:
		return nil, apiErrorf("InvalidKeyUsageException",
			"Algorithm %s is incompatible with key spec %s.", r.EncryptionAlgorithm, algorithm)
	}
	return a.do(r, k)
}

func (r *request) createKey(*key) (any, error) {
	for name, given := range map[string][2]string{
		"KeyUsage": {r.KeyUsage, "ENCRYPT_DECRYPT"}, "KeySpec": {r.KeySpec, algorithm},
	} {
		if given[0] != "" && given[0] != given[1] {
			return nil, apiErrorf("UnsupportedOperationException",
				"localcloud does not support %s %s: write %s", name, given[0], given[1])
		}
	}
	k := newKey(r.settings.Now())
	k.Description, k.Tags = r.Description, map[string]string{}
	for _, t := range r.Tags {
		if t.TagKey == "" || len(t.TagKey) > 128 || len(t.TagValue) > 256 || strings.HasPrefix(t.TagKey, "aws:") {
			return nil, apiErrorf("TagException", "The tag %q is invalid", t.TagKey)
		}
		k.Tags[t.TagKey] = t.TagValue
	}
	keys := tagKeys("aws:requesttag/", k.Tags)
	err := r.authorize(r.action, "*", keys)
	if err == nil && len(r.Tags) > 0 {
		err = r.authorize("kms:TagResource", "*", keys)
	}
	if err != nil {
		return nil, err
	}
	r.kms.Keys[k.ID] = k
	return map[string]any{"KeyMetadata": r.metadata(k)}, r.kms.save()
}

// tagKeys returns the condition keys for tags.
func tagKeys(prefix string, tags map[string]string) map[string]string {
	keys := map[string]string{}
	for name, value := range tags {
		keys[prefix+strings.ToLower(name)] = value
	}
	return keys
}

func (r *request) describeKey(k *key) (any, error) {
	return map[string]any{"KeyMetadata": r.metadata(k)}, nil
}

func setState(state string) func(r *request, k *key) (any, error) {
	return func(r *request, k *key) (any, error) {
		k.State = state
		return nil, r.kms.save()
	}
}

func (r *request) scheduleKeyDeletion(k *key) (any, error) {
	waiting := maxWaiting
	if given := r.PendingWindowInDays; given != nil {
		waiting = *given
	}
	if waiting < minWaiting || waiting > maxWaiting {
		return nil, apiErrorf("ValidationException",
			"PendingWindowInDays is %d: write %d to %d", waiting, minWaiting, maxWaiting)
	}
	k.State, k.DeletionDate = statePending, r.settings.Now().AddDate(0, 0, waiting)
	return map[string]any{
		"KeyId": r.arn("key/" + k.ID), "KeyState": k.State,
		"DeletionDate": seconds(k.DeletionDate), "PendingWindowInDays": waiting,
	}, r.kms.save()
}

// cancelKeyDeletion leaves the key disabled, as KMS does.
func (r *request) cancelKeyDeletion(k *key) (any, error) {
	if k.State != statePending {
		return nil, apiErrorf("KMSInvalidStateException", "%s is not pending deletion.", r.arn("key/"+k.ID))
	}
	k.State, k.DeletionDate = stateDisabled, time.Time{}
	return map[string]any{"KeyId": r.arn("key/" + k.ID)}, r.kms.save()
}

func (r *request) createAlias(*key) (any, error) {
	form := regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)
	if !form.MatchString(r.AliasName) || strings.HasPrefix(r.AliasName, "alias/aws/") {
		return nil, apiErrorf("InvalidAliasNameException",
			"Alias %q: write alias/NAME, with letters, digits and /_-, and not alias/aws/NAME", r.AliasName)
	}
	if err := r.authorize(r.action, r.arn(r.AliasName), nil); err != nil {
		return nil, err
	}
	if r.kms.Aliases[r.AliasName] != nil {
		return nil, apiErrorf("AlreadyExistsException", "An alias with the name %s already exists", r.arn(r.AliasName))
	}
	k, err := r.find(r.TargetKeyID, permitted|notPending)
	if err != nil {
		return nil, err
	}
	r.kms.Aliases[r.AliasName] = &alias{KeyID: k.ID}
	return nil, r.kms.save()
}

func (r *request) deleteAlias(*key) (any, error) {
	if err := r.authorize(r.action, r.arn(r.AliasName), nil); err != nil {
		return nil, err
	}
	a, ok := r.kms.Aliases[r.AliasName]
	if !ok {
		return nil, apiErrorf("NotFoundException", "Alias %s is not found.", r.arn(r.AliasName))
	}
	if _, err := r.find(a.KeyID, permitted); err != nil {
		return nil, err
	}
	delete(r.kms.Aliases, r.AliasName)
	return nil, r.kms.save()
}

func (r *request) enableKeyRotation(k *key) (any, error) {
	k.RotationDays = rotationDays
	return nil, r.kms.save()
}

func (r *request) getKeyRotationStatus(k *key) (any, error) {
	status := map[string]any{"KeyId": r.arn("key/" + k.ID), "KeyRotationEnabled": k.RotationDays > 0}
	if k.RotationDays > 0 {
		status["RotationPeriodInDays"] = k.RotationDays
		status["NextRotationDate"] = seconds(k.Created.AddDate(0, 0, k.RotationDays))
	}
	return status, nil
}

func (r *request) rotateKeyOnDemand(k *key) (any, error) {
	if len(k.Materials) > maxRotations {
		return nil, apiErrorf("LimitExceededException", "%s has been rotated on demand %d times, which is the limit.",
			r.arn("key/"+k.ID), maxRotations)
	}
	k.rotate()
	return map[string]any{"KeyId": k.ID}, r.kms.save()
}

func (r *request) encrypt(k *key) (any, error) {
	if len(r.Plaintext) == 0 || len(r.Plaintext) > maxPlaintext {
		return nil, apiErrorf("ValidationException",
			"Plaintext has %d bytes: KMS encrypts 1 to %d bytes", len(r.Plaintext), maxPlaintext)
	}
	blob, err := k.encrypt(r.Plaintext, r.EncryptionContext)
	return map[string]any{"CiphertextBlob": blob, "KeyId": r.arn("key/" + k.ID), "EncryptionAlgorithm": algorithm}, err
}

func (r *request) decrypt(*key) (any, error) {
	id, ok := keyIDOf(r.CiphertextBlob)
	if !ok {
		return nil, apiErrorf("InvalidCiphertextException", "")
	}
	if r.KeyID != "" {
		named, err := r.find(r.KeyID, byAlias)
		if err != nil {
			return nil, err
		}
		if named.ID != id {
			return nil, apiErrorf("IncorrectKeyException",
				"The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	if r.kms.Keys[id] == nil {
		return nil, apiErrorf("AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, "+
				"or you are not allowed to access.")
	}
	k, err := r.find(id, permitted|notPending|enabled)
	if err != nil {
		return nil, err
	}
	plaintext, ok, err := k.decrypt(r.CiphertextBlob, r.EncryptionContext)
	if err == nil && !ok {
		err = apiErrorf("InvalidCiphertextException", "")
	}
	return map[string]any{"Plaintext": plaintext, "KeyId": r.arn("key/" + k.ID), "EncryptionAlgorithm": algorithm}, err
}

// find returns the key with that ID or ARN or, with byAlias, alias name or ARN, if it meets the requirements.
func (r *request) find(name string, required requirement) (*key, error) {
	local := strings.TrimPrefix(name, r.arn(""))
	if strings.HasPrefix(local, "alias/") {
		if required&byAlias == 0 {
			return nil, apiErrorf("NotFoundException", "Invalid keyId %q: write the key's ID or ARN", name)
		}
		a, ok := r.kms.Aliases[local]
		if !ok {
			return nil, apiErrorf("NotFoundException", "Alias %s is not found.", r.arn(local))
		}
		local = a.KeyID
	}
	id := strings.TrimPrefix(local, "key/")
	k, ok := r.kms.Keys[id]
	if !ok {
		return nil, apiErrorf("NotFoundException", "Key '%s' does not exist", r.arn("key/"+id))
	}
	return k, r.checkKey(k, required)
}

// checkKey returns an error for a key that does not meet the requirements.
func (r *request) checkKey(k *key, required requirement) error {
	arn := r.arn("key/" + k.ID)
	if required&permitted != 0 {
		if err := r.authorize(r.action, arn, tagKeys("aws:resourcetag/", k.Tags)); err != nil {
			return err
		}
	}
	switch {
	case required&enabled != 0 && k.State == stateDisabled:
		return apiErrorf("DisabledException", "%s is disabled.", arn)
	case required&notPending != 0 && k.State == statePending:
		return apiErrorf("KMSInvalidStateException", "%s is pending deletion.", arn)
	}
	return nil
}

// authorize returns an error if the caller's policies do not allow the action. Every key has the default key policy,
// which delegates access control to them.
func (r *request) authorize(action, arn string, keys map[string]string) error {
	all := map[string]string{"aws:requestedregion": r.settings.Region, "aws:securetransport": "true"}
	maps.Copy(all, keys)
	if reason := r.caller.Refusal(policy.Request{Action: action, Resource: arn, Keys: all}, nil); reason != "" {
		return apiErrorf("AccessDeniedException", "%s", reason)
	}
	return nil
}

func (r *request) metadata(k *key) map[string]any {
	m := map[string]any{
		"AWSAccountId": caller.AccountID, "KeyId": k.ID, "Arn": r.arn("key/" + k.ID), "Description": k.Description,
		"CreationDate": seconds(k.Created), "Enabled": k.State == stateEnabled, "KeyState": k.State, "MultiRegion": false,
		"KeyUsage": "ENCRYPT_DECRYPT", "KeyManager": "CUSTOMER", "Origin": "AWS_KMS", "KeySpec": algorithm,
		"CustomerMasterKeySpec": algorithm, "EncryptionAlgorithms": []string{algorithm},
	}
	if k.State == statePending {
		m["DeletionDate"] = seconds(k.DeletionDate)
	}
	return m
}

func (r *request) arn(resource string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:%s", r.settings.Region, caller.AccountID, resource)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
