"""Contracts on the prompt, shared by every suite whose rows carry one."""

from data_contracts.suites.contract import Contract, Limits, per_row


def prompt_contracts(limits: Limits) -> list[Contract]:
    bos = limits.bos_per_prompt
    contracts = [
        per_row("prompt_not_empty", "An answer to nothing teaches nothing.", "prompt_tokens", low=1),
        per_row(
            "prompt_bos_as_template",
            "A prompt begins with exactly the beginning-of-sequence tokens that the chat template writes: a second one, added by "
            "the tokenizer, is text the model never saw.",
            "prompt_bos_tokens",
            low=bos,
            high=bos,
        ),
        per_row(
            "prompt_spells_no_control_tokens",
            "Text that spells a control token can forge a turn that nobody took.",
            "prompt_spelt_control_tokens",
            high=0,
        ),
        per_row(
            "prompt_turns_alternate",
            "A conversation is user, assistant, user, … after an optional system message, and ends with the user.",
            "prompt_turns_out_of_order",
            high=0,
        ),
        per_row("prompt_turns_have_text", "A turn without text is a hole in the conversation.", "prompt_empty_turns", high=0),
    ]
    if limits.codec is None:
        return contracts
    return [
        *contracts,
        per_row(
            "prompt_round_trip",
            "The prompt's text, put through the policy's chat template, must give exactly its token ids: others were made by "
            "another template or tokenizer.",
            "prompt_not_as_template",
            high=0,
        ),
    ]
