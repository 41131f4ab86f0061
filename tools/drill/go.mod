// The restore drill: proves the newest backup of a stack.
module immutable-infra/tools/drill

go 1.26
