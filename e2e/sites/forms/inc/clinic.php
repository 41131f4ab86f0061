<?php
function opening(): array
{
    return ['from' => 9];
}
