package awsapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
)

// Limits of KMS.
const (
	maxPlaintext   = 4096 // bytes
	maxDataKey     = 1024 // bytes
	maxRotations   = 10   // on demand, of one key
	yearInDays     = 365
	defaultWaiting = 30 // days until a key is deleted
)

const algorithm = "SYMMETRIC_DEFAULT"

// request is one request to KMS, which has the keys for itself.
type request struct {
	*Server
	action string // kms:NAME
	caller caller.Caller
}

// action answers a request with something to encode as JSON.
type action func(r *request, body []byte) (any, error)

// with decodes the input of an action. A parameter that localcloud does not know
// is refused: it could not be heeded.
func with[Input any](do func(r *request, input Input) (any, error)) action {
	return func(r *request, body []byte) (any, error) {
		var input Input
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&input); err != nil && err != io.EOF {
			return nil, refuse("ValidationException", "localcloud cannot do what %s is asked for: %s", r.action, err)
		}
		r.kms.forget(r.settings.Now())
		return do(r, input)
	}
}

func kmsActions() map[string]action {
	return map[string]action{
		"CreateKey":            with((*request).createKey),
		"DescribeKey":          with((*request).describeKey),
		"EnableKey":            with((*request).enableKey),
		"DisableKey":           with((*request).disableKey),
		"ScheduleKeyDeletion":  with((*request).scheduleKeyDeletion),
		"CancelKeyDeletion":    with((*request).cancelKeyDeletion),
		"CreateAlias":          with((*request).createAlias),
		"UpdateAlias":          with((*request).updateAlias),
		"DeleteAlias":          with((*request).deleteAlias),
		"ListAliases":          with((*request).listAliases),
		"EnableKeyRotation":    with((*request).enableKeyRotation),
		"GetKeyRotationStatus": with((*request).getKeyRotationStatus),
		"RotateKeyOnDemand":    with((*request).rotateKeyOnDemand),
		"TagResource":          with((*request).tagResource),
		"ListResourceTags":     with((*request).listResourceTags),
		"Encrypt":              with((*request).encrypt),
		"Decrypt":              with((*request).decrypt),
		"GenerateDataKey":      with((*request).generateDataKey),
	}
}

// keyInput is the input of what only asks which key.
type keyInput struct {
	KeyID       string   `json:"KeyId"`
	GrantTokens []string // there are no grants
}

// tag is a tag as KMS writes it.
type tag struct {
	TagKey, TagValue string
}

type createKeyInput struct {
	Description, KeyUsage, KeySpec, CustomerMasterKeySpec, Origin string
	MultiRegion                                                   bool
	Tags                                                          []tag
}

func (r *request) createKey(input createKeyInput) (any, error) {
	for name, given := range map[string][2]string{
		"KeyUsage": {input.KeyUsage, "ENCRYPT_DECRYPT"}, "KeySpec": {input.KeySpec, algorithm},
		"CustomerMasterKeySpec": {input.CustomerMasterKeySpec, algorithm}, "Origin": {input.Origin, "AWS_KMS"},
	} {
		if given[0] != "" && given[0] != given[1] {
			return nil, refuse("UnsupportedOperationException", "localcloud has no keys of %s %s: write %s", name, given[0], given[1])
		}
	}
	if input.MultiRegion {
		return nil, refuse("UnsupportedOperationException", "localcloud has no multi-region keys")
	}
	k := newKey(r.settings.Now())
	k.Description = input.Description
	keys, err := setTags(k, input.Tags)
	if err != nil {
		return nil, err
	}
	if err := r.authorize(r.action, "*", keys); err != nil {
		return nil, err
	}
	if len(input.Tags) > 0 {
		if err := r.authorize("kms:TagResource", "*", keys); err != nil {
			return nil, err
		}
	}
	r.kms.Keys[k.ID] = k
	return map[string]any{"KeyMetadata": r.metadata(k)}, r.kms.save()
}

func (r *request) describeKey(input keyInput) (any, error) {
	k, err := r.permitted(input.KeyID, true)
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyMetadata": r.metadata(k)}, nil
}

func (r *request) enableKey(input keyInput) (any, error)  { return r.setState(input, stateEnabled) }
func (r *request) disableKey(input keyInput) (any, error) { return r.setState(input, stateDisabled) }

func (r *request) setState(input keyInput, state string) (any, error) {
	k, err := r.permitted(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	if err := r.notPending(k); err != nil {
		return nil, err
	}
	k.State = state
	return nil, r.kms.save()
}

type scheduleKeyDeletionInput struct {
	keyInput
	PendingWindowInDays *int
}

func (r *request) scheduleKeyDeletion(input scheduleKeyDeletionInput) (any, error) {
	k, err := r.permitted(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	if err := r.notPending(k); err != nil {
		return nil, err
	}
	days := defaultWaiting
	if input.PendingWindowInDays != nil {
		days = *input.PendingWindowInDays
	}
	if days < 7 || days > defaultWaiting {
		return nil, refuse("ValidationException", "PendingWindowInDays is %d: write 7 to %d", days, defaultWaiting)
	}
	k.State = statePending
	k.DeletionDate = r.settings.Now().AddDate(0, 0, days)
	return map[string]any{
		"KeyId": r.keyARN(k.ID), "KeyState": k.State, "DeletionDate": seconds(k.DeletionDate), "PendingWindowInDays": days,
	}, r.kms.save()
}

// cancelKeyDeletion leaves the key disabled, as KMS does.
func (r *request) cancelKeyDeletion(input keyInput) (any, error) {
	k, err := r.permitted(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	if k.State != statePending {
		return nil, refuse("KMSInvalidStateException", "%s is not pending deletion.", r.keyARN(k.ID))
	}
	k.State, k.DeletionDate = stateDisabled, time.Time{}
	return map[string]any{"KeyId": r.keyARN(k.ID)}, r.kms.save()
}

type aliasInput struct {
	AliasName   string
	TargetKeyID string `json:"TargetKeyId"`
}

func (r *request) createAlias(input aliasInput) (any, error) {
	if !regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`).MatchString(input.AliasName) || strings.HasPrefix(input.AliasName, "alias/aws/") {
		return nil, refuse("InvalidAliasNameException", "Alias %q: write alias/NAME, with letters, digits and /_-, and not alias/aws/NAME", input.AliasName)
	}
	if err := r.authorize(r.action, r.aliasARN(input.AliasName), nil); err != nil {
		return nil, err
	}
	k, err := r.permitted(input.TargetKeyID, false)
	if err != nil {
		return nil, err
	}
	if err := r.notPending(k); err != nil {
		return nil, err
	}
	if _, exists := r.kms.Aliases[input.AliasName]; exists {
		return nil, refuse("AlreadyExistsException", "An alias with the name %s already exists", r.aliasARN(input.AliasName))
	}
	now := r.settings.Now()
	r.kms.Aliases[input.AliasName] = &alias{KeyID: k.ID, Created: now, Updated: now}
	return nil, r.kms.save()
}

func (r *request) updateAlias(input aliasInput) (any, error) {
	a, err := r.permittedAlias(input.AliasName)
	if err != nil {
		return nil, err
	}
	k, err := r.permitted(input.TargetKeyID, false)
	if err != nil {
		return nil, err
	}
	if err := r.notPending(k); err != nil {
		return nil, err
	}
	a.KeyID, a.Updated = k.ID, r.settings.Now()
	return nil, r.kms.save()
}

type deleteAliasInput struct {
	AliasName string
}

func (r *request) deleteAlias(input deleteAliasInput) (any, error) {
	if _, err := r.permittedAlias(input.AliasName); err != nil {
		return nil, err
	}
	delete(r.kms.Aliases, input.AliasName)
	return nil, r.kms.save()
}

// permittedAlias is an alias that the caller may change, with the key that it has now.
func (r *request) permittedAlias(name string) (*alias, error) {
	if err := r.authorize(r.action, r.aliasARN(name), nil); err != nil {
		return nil, err
	}
	a, ok := r.kms.Aliases[name]
	if !ok {
		return nil, refuse("NotFoundException", "Alias %s is not found.", r.aliasARN(name))
	}
	_, err := r.permitted(a.KeyID, false)
	return a, err
}

// listInput is what lists of things of a key are asked for by.
type listInput struct {
	KeyID  string `json:"KeyId"`
	Limit  int    // there are never so many
	Marker string
}

func (r *request) listAliases(input listInput) (any, error) {
	if err := r.authorize(r.action, "*", nil); err != nil {
		return nil, err
	}
	only := ""
	if input.KeyID != "" {
		k, err := r.find(input.KeyID, false)
		if err != nil {
			return nil, err
		}
		only = k.ID
	}
	list := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(r.kms.Aliases)) {
		a := r.kms.Aliases[name]
		if only == "" || a.KeyID == only {
			list = append(list, map[string]any{
				"AliasName": name, "AliasArn": r.aliasARN(name), "TargetKeyId": a.KeyID,
				"CreationDate": seconds(a.Created), "LastUpdatedDate": seconds(a.Updated),
			})
		}
	}
	return map[string]any{"Aliases": list, "Truncated": false}, nil
}

type enableKeyRotationInput struct {
	keyInput
	RotationPeriodInDays *int
}

func (r *request) enableKeyRotation(input enableKeyRotationInput) (any, error) {
	k, err := r.usable(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	days := yearInDays
	if input.RotationPeriodInDays != nil {
		days = *input.RotationPeriodInDays
	}
	if days < 90 || days > 2560 {
		return nil, refuse("ValidationException", "RotationPeriodInDays is %d: write 90 to 2560", days)
	}
	k.RotationDays = days
	return nil, r.kms.save()
}

func (r *request) getKeyRotationStatus(input keyInput) (any, error) {
	k, err := r.permitted(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	status := map[string]any{"KeyId": r.keyARN(k.ID), "KeyRotationEnabled": k.RotationDays > 0}
	if k.RotationDays > 0 {
		status["RotationPeriodInDays"] = k.RotationDays
		status["NextRotationDate"] = seconds(k.Created.AddDate(0, 0, k.RotationDays))
	}
	return status, nil
}

func (r *request) rotateKeyOnDemand(input keyInput) (any, error) {
	k, err := r.usable(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	if len(k.Materials) > maxRotations {
		return nil, refuse("LimitExceededException", "%s has been rotated on demand %d times, which is the most.", r.keyARN(k.ID), maxRotations)
	}
	k.rotate()
	return map[string]any{"KeyId": k.ID}, r.kms.save()
}

type tagResourceInput struct {
	KeyID string `json:"KeyId"`
	Tags  []tag
}

func (r *request) tagResource(input tagResourceInput) (any, error) {
	k, err := r.find(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	tagged := key{Tags: maps.Clone(k.Tags)}
	keys, err := setTags(&tagged, input.Tags)
	if err != nil {
		return nil, err
	}
	if err := r.authorizeKey(k, keys); err != nil {
		return nil, err
	}
	if err := r.notPending(k); err != nil {
		return nil, err
	}
	k.Tags = tagged.Tags
	return nil, r.kms.save()
}

// setTags adds tags to a key, and returns the condition keys of the request.
func setTags(k *key, tags []tag) (map[string]string, error) {
	keys := map[string]string{}
	for _, t := range tags {
		if t.TagKey == "" || len(t.TagKey) > 128 || len(t.TagValue) > 256 || strings.HasPrefix(t.TagKey, "aws:") {
			return nil, refuse("TagException", "The tag %q is invalid", t.TagKey)
		}
		if k.Tags == nil {
			k.Tags = map[string]string{}
		}
		k.Tags[t.TagKey] = t.TagValue
		keys["aws:requesttag/"+strings.ToLower(t.TagKey)] = t.TagValue
	}
	return keys, nil
}

func (r *request) listResourceTags(input listInput) (any, error) {
	k, err := r.permitted(input.KeyID, false)
	if err != nil {
		return nil, err
	}
	tags := []tag{}
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		tags = append(tags, tag{name, k.Tags[name]})
	}
	return map[string]any{"Tags": tags, "Truncated": false}, nil
}

// cryptoInput is what requests have in common that use a key.
type cryptoInput struct {
	keyInput
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
}

func (i cryptoInput) check() error {
	if i.EncryptionAlgorithm != "" && i.EncryptionAlgorithm != algorithm {
		return refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", i.EncryptionAlgorithm, algorithm)
	}
	return nil
}

type encryptInput struct {
	cryptoInput
	Plaintext []byte
}

func (r *request) encrypt(input encryptInput) (any, error) {
	if err := input.check(); err != nil {
		return nil, err
	}
	if len(input.Plaintext) == 0 || len(input.Plaintext) > maxPlaintext {
		return nil, refuse("ValidationException", "Plaintext has %d bytes: KMS encrypts 1 to %d", len(input.Plaintext), maxPlaintext)
	}
	k, err := r.usable(input.KeyID, true)
	if err != nil {
		return nil, err
	}
	blob, err := k.encrypt(input.Plaintext, input.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return map[string]any{"CiphertextBlob": blob, "KeyId": r.keyARN(k.ID), "EncryptionAlgorithm": algorithm}, nil
}

type decryptInput struct {
	cryptoInput
	CiphertextBlob []byte
}

func (r *request) decrypt(input decryptInput) (any, error) {
	if err := input.check(); err != nil {
		return nil, err
	}
	id, ok := keyOf(input.CiphertextBlob)
	if !ok {
		return nil, refuse("InvalidCiphertextException", "")
	}
	if input.KeyID != "" {
		named, err := r.find(input.KeyID, true)
		if err != nil {
			return nil, err
		}
		if named.ID != id {
			return nil, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	if r.kms.Keys[id] == nil {
		return nil, refuse("AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	}
	k, err := r.usable(id, false)
	if err != nil {
		return nil, err
	}
	plaintext, ok, err := k.decrypt(input.CiphertextBlob, input.EncryptionContext)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refuse("InvalidCiphertextException", "")
	}
	return map[string]any{"Plaintext": plaintext, "KeyId": r.keyARN(k.ID), "EncryptionAlgorithm": algorithm}, nil
}

type generateDataKeyInput struct {
	keyInput
	EncryptionContext map[string]string
	KeySpec           string
	NumberOfBytes     int
}

func (r *request) generateDataKey(input generateDataKeyInput) (any, error) {
	sizes := map[string]int{"AES_128": 16, "AES_256": 32, "": input.NumberOfBytes}
	size := sizes[input.KeySpec]
	if size < 1 || size > maxDataKey || (input.KeySpec != "" && input.NumberOfBytes != 0) {
		return nil, refuse("ValidationException", "write either KeySpec, AES_128 or AES_256, or NumberOfBytes, 1 to %d", maxDataKey)
	}
	k, err := r.usable(input.KeyID, true)
	if err != nil {
		return nil, err
	}
	plaintext := randomBytes(size)
	blob, err := k.encrypt(plaintext, input.EncryptionContext)
	if err != nil {
		return nil, err
	}
	return map[string]any{"CiphertextBlob": blob, "Plaintext": plaintext, "KeyId": r.keyARN(k.ID)}, nil
}

// find finds a key by its id or ARN, and if aliases will do, by the name or ARN of one.
func (r *request) find(name string, aliases bool) (*key, error) {
	local := strings.TrimPrefix(name, fmt.Sprintf("arn:aws:kms:%s:%s:", r.settings.Region, caller.AccountID))
	if strings.HasPrefix(local, "alias/") {
		if !aliases {
			return nil, refuse("NotFoundException", "Invalid keyId %q: write the key's id or ARN", name)
		}
		a, ok := r.kms.Aliases[local]
		if !ok {
			return nil, refuse("NotFoundException", "Alias %s is not found.", r.aliasARN(local))
		}
		local = a.KeyID
	}
	id := strings.TrimPrefix(local, "key/")
	k, ok := r.kms.Keys[id]
	if !ok {
		return nil, refuse("NotFoundException", "Key '%s' does not exist", r.keyARN(id))
	}
	return k, nil
}

// permitted finds a key with which the caller may do what the request is.
func (r *request) permitted(name string, aliases bool) (*key, error) {
	k, err := r.find(name, aliases)
	if err != nil {
		return nil, err
	}
	return k, r.authorizeKey(k, nil)
}

// usable finds a permitted key that is enabled.
func (r *request) usable(name string, aliases bool) (*key, error) {
	k, err := r.permitted(name, aliases)
	if err != nil {
		return nil, err
	}
	if k.State == stateDisabled {
		return nil, refuse("DisabledException", "%s is disabled.", r.keyARN(k.ID))
	}
	return k, r.notPending(k)
}

func (r *request) notPending(k *key) error {
	if k.State == statePending {
		return refuse("KMSInvalidStateException", "%s is pending deletion.", r.keyARN(k.ID))
	}
	return nil
}

func (r *request) authorizeKey(k *key, keys map[string]string) error {
	all := maps.Clone(keys)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range k.Tags {
		all["aws:resourcetag/"+strings.ToLower(name)] = value
	}
	return r.authorize(r.action, r.keyARN(k.ID), all)
}

// authorize refuses what the caller's policies do not allow. Every key has the
// default key policy, which leaves it to them.
func (r *request) authorize(action, arn string, keys map[string]string) error {
	all := map[string]string{"aws:requestedregion": r.settings.Region, "aws:securetransport": "true"}
	maps.Copy(all, keys)
	if refused := r.caller.Refusal(policy.Request{Action: action, Resource: arn, Keys: all}, nil); refused != "" {
		return refuse("AccessDeniedException", "%s", refused)
	}
	return nil
}

func (r *request) metadata(k *key) map[string]any {
	m := map[string]any{
		"AWSAccountId": caller.AccountID, "KeyId": k.ID, "Arn": r.keyARN(k.ID), "Description": k.Description, "CreationDate": seconds(k.Created),
		"Enabled": k.State == stateEnabled, "KeyState": k.State, "KeyUsage": "ENCRYPT_DECRYPT", "KeyManager": "CUSTOMER", "Origin": "AWS_KMS",
		"KeySpec": algorithm, "CustomerMasterKeySpec": algorithm, "EncryptionAlgorithms": []string{algorithm}, "MultiRegion": false,
	}
	if k.State == statePending {
		m["DeletionDate"] = seconds(k.DeletionDate)
	}
	return m
}

func (r *request) keyARN(id string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", r.settings.Region, caller.AccountID, id)
}

func (r *request) aliasARN(name string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:%s", r.settings.Region, caller.AccountID, name)
}

// seconds is a time in AWS's JSON.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
