"""How refusals are worded, by language: patterns for casefolded sentences. Ours, written from what models say.

English and Chinese are measured (docs/rewards.md); the others are not, for want of labelled answers, and have tests of
single sentences only.
"""

import re

HEAD_CHARS = 320
"""How far into an answer refusals are looked for. Ours."""

MOST_SENTENCES = 4
"""How many of its first sentences are looked at: "I understand. But ..." comes before many refusals. Ours."""


_HELP = (
    r"(?:assist|help(?! but)|provide|give|offer|share|fulfil|comply|create|write|generate|produce|answer|respond|"
    r"support|engage|encourage|promote|condone|endorse|participate|discuss|do (?:that|this|so)|tell you|say|"
    r"recommend|advise|accommodate|continue|proceed|complete|carry out|execute|perform|facilitate|suggest|"
    r"translate|simulate|pretend|impersonate|act as|take on|play|role|follow|adhere|respect|process|"
    r"teach|explain how|show you|advocate|disclose|reveal|instruct|guide|aid|be able to|involve|contribute|"
    r"express|make (?:such|this|that|any)|use (?:such|offensive|inappropriate|hateful|toxic))"
)
_UNABLE = (
    r"(?:can'?t|cannot|can not|won'?t|will not|could not|couldn'?t|must not|(?:am|'m|are|is|be|was) "
    r"(?:unable|not able|not going|not allowed|not permitted|not authori[sz]ed|not programmed|not capable|"
    r"not comfortable|not designed|not willing|prohibited|incapable)(?: of| to| from)?)"
)
_WHO = r"(?:i|we|chatgpt|this ai|an ai|ai language model|it|my (?:programming|guidelines|purpose))"

PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        rf"\b{_WHO}(?:'m| am| do)?\b,?(?: \w+){{0,2}} ?{_UNABLE}(?: \w+){{0,3}}? ?{_HELP}",
        rf"\b(?:sorry|apologi[sz]e|afraid|unfortunately|regret)\b.{{0,60}}?{_UNABLE}(?: \w+){{0,4}}? ?{_HELP}",
        r"\bi(?:'m| am)? ?(?:must|have to|need to|will have to|would have to)?(?: \w+)? ?(?:decline|refuse)\b",
        (
            r"\b(?:against|violates?|goes against|outside|contrary to) (?:my|openai'?s?|our|the) "
            r"(?:\w+ ){0,3}(?:programming|guidelines|polic(?:y|ies)|principles|values|code|use case)"
        ),
        (
            r"\b(?:not|isn'?t|never) (?:\w+ ){0,2}(?:appropriate|acceptable|ethical|something i can)\b.{0,40}"
            r"\b(?:for me|to (?:provide|assist|engage|create|generate|promote|use|make|write))\b"
        ),
        (
            r"\bi (?:do not|don'?t|cannot|can'?t) (?:\w+ )?(?:support|condone|encourage|promote|endorse|engage in|"
            r"provide|participate in|have the ability to|feel comfortable)\b"
        ),
        (
            rf"\bas an? (?:responsible |helpful )?(?:ai|artificial|language|assistant|openai).{{0,140}}?{_UNABLE}"
            rf"(?: \w+){{0,3}}? ?{_HELP}"
        ),
        r"\b(?:not|isn't) (?:something|a topic|a request) (?:that )?(?:i|we) (?:can|am able to|will|could)\b",
        r"\bi (?:strongly |must |would )*(?:advise|urge|caution|recommend) (?:you )?(?:\w+ )?(?:against|not to)\b",
    ),
    "zh": (
        r"(?:抱歉|对不起|很遗憾|不好意思|抱歉的是).{0,40}?(?:不能|无法|没(?:有)?办法|不会|不可以|不便|难以|拒绝)",
        (
            r"我(?:们)?(?:的程序|被设计)?(?:是)?.{0,12}?(?:不能|无法|没(?:有)?办法|不会|不可以|不应该|不允许|不被允许|不支持|不愿|拒绝)"
            r".{0,14}?(?:提供|回答|帮|协助|生成|创作|写|支持|参与|鼓励|翻译|满足|完成|讨论|使用|执行|传播|做|遵从|进行|给出|编写|输出|建议|发表|评论)"
        ),
        r"作为.{0,16}?(?:ai|人工智能|语言模型|助手).{0,30}?(?:不能|无法|不会|不应|不支持|没有能力|不可以|不具备)",
        r"(?:违反|违背)了?.{0,12}?(?:我的|我们的|使用|道德|伦理|准则|政策|规定|原则)",
        r"请(?:您|你|注意|理解)?.{0,4}?不要(?:发表|提供|使用|传播|参与).{0,16}?(?:言论|语言|信息|内容|话语)",
        r"我(?:们)?(?:坚决)?(?:不|反对)(?:鼓励|支持|赞同|赞成|建议|提倡|认同|能接受|接受|任何)",
        r"(?:请|您|你)?(?:不要|避免)使用.{0,12}?(?:有毒|冒犯|歧视|侮辱|不当|恶意|攻击|贬低)",
    ),
    "es": (
        (
            r"\b(?:lo siento|lamento|me temo|disculpa|lamentablemente)"
            r"\b.{0,50}\bno (?:puedo|podemos|me es posible|podré)\b"
        ),
        (
            r"\bno (?:puedo|podré|estoy autorizad[oa] a|me es posible) "
            r"(?:ayudar|asistir|proporcionar|ofrecer|dar|responder|cumplir|crear|escribir|generar|participar|apoyar)"
        ),
    ),
    "pt": (
        r"\b(?:desculpe|sinto muito|lamento|infelizmente)\b.{0,50}\bnão (?:posso|consigo|poderei)\b",
        (
            r"\bnão (?:posso|consigo|poderei) (?:te |lhe )?"
            r"(?:ajudar|auxiliar|fornecer|oferecer|dar|responder|atender|criar|escrever|gerar|participar|apoiar)"
        ),
    ),
    "fr": (
        (
            r"\b(?:désolée?|regrette|malheureusement|navrée?)\b.{0,50}\bne (?:peux|"
            r"puis|pourrai|suis)\b.{0,20}(?:pas|mesure)?"
        ),
        (
            r"\bje ne (?:peux|puis|pourrai|suis)(?: pas)? (?:\w+ ){0,4}?"
            r"(?:aider|assister|fournir|répondre|donner|créer|écrire|générer|participer|encourager)"
        ),
    ),
    "de": (
        (
            r"\b(?:tut mir leid|entschuldigung|bedauere?|bedaure|leider)"
            r"\b.{0,60}\b(?:kann|können|darf|werde|möchte)\b.{0,60}\bnicht\b"
        ),
        (
            r"\bich (?:kann|darf|werde|möchte) .{0,60}?(?:nicht|keine?[nrsm]?)\b.{0,50}?"
            r"(?:helfen|unterstützen|beantworten|bereitstellen|geben|erstellen|schreiben|liefern|weiterhelfen|anbieten)"
        ),
        r"\b(?:kann|darf|werde|möchte) ich\b.{0,50}\b(?:nicht|keine?)\b.{0,30}(?:helfen|beantworten|geben|erstellen)",
    ),
    "it": (
        r"\b(?:mi dispiace|spiacente|purtroppo)\b.{0,50}\bnon (?:posso|sono in grado|potrò)\b",
        r"\bnon (?:posso|potrò|sono in grado di) (?:aiutar|assister|fornir|offrir|dar|risponder|crear|scriver|generar)",
    ),
    "nl": (r"\b(?:sorry|het spijt me|helaas)\b.{0,50}\b(?:kan|mag|zal)\b.{0,40}\b(?:niet|geen)\b",),
    "pl": (
        r"\b(?:przepraszam|przykro mi|niestety)\b.{0,40}\bnie (?:mogę|jestem w stanie|będę)\b",
        r"\bnie mogę (?:ci |pani |panu )?(?:pomóc|udzielić|podać|stworzyć|napisać|spełnić)",
    ),
    "ru": (
        r"(?:извините|простите|к сожалению|сожалею|прошу прощения).{0,50}\bне (?:могу|можем|смогу|буду|в состоянии)\b",
        (
            r"\bя не (?:могу|смогу|буду) (?:\w+ ){0,2}?(?:помо|предостав|дать|"
            r"давать|отвеч|ответ|созда|писать|написать|выполн|участв)"
        ),
    ),
    "uk": (r"(?:вибачте|на жаль|перепрошую).{0,50}\bне (?:можу|зможу|буду)\b",),
    "tr": (
        r"(?:üzgünüm|maalesef|özür dilerim).{0,80}(?:\w+(?:emem|amam|emiyorum|amıyorum|emeyiz|amayız))\b",
        r"\b(?:yardımcı olamam|yardım edemem|sağlayamam|yanıt veremem)\b",
    ),
    "id": (
        r"\b(?:maaf|mohon maaf|sayangnya)\b.{0,50}\b(?:tidak (?:dapat|bisa|akan|boleh)|tak bisa)\b",
        r"\b(?:saya|kami) tidak (?:dapat|bisa|akan) (?:membantu|memberikan|menyediakan|menjawab|membuat|mendukung)",
    ),
    "vi": (
        r"(?:xin lỗi|rất tiếc).{0,50}\bkhông (?:thể|được phép)\b",
        r"\btôi không thể (?:giúp|cung cấp|hỗ trợ|trả lời)",
    ),
    "ja": (
        r"(?:申し訳|すみません|ごめん|残念ながら|恐れ入り).{0,60}(?:できません|できかねます|お答えできない|致しかねます|いたしかねます|お断り|対応できない)",
        r"(?:お手伝い|提供|お答え|回答|支援|作成|協力|お教え|対応)(?:する)?(?:こと)?(?:は|が)?(?:できません|できかねます|いたしかねます|致しかねます)",
    ),
    "ko": (
        r"(?:죄송|미안|유감).{0,60}(?:수 없|드릴 수 없|못합니다|어렵습니다|불가능|도와드릴 수 없)",
        r"(?:도와드릴|제공할|제공해 드릴|답변할|답변드릴|도울|응할) 수 (?:가 )?없",
    ),
    "ar": (
        r"(?:آسف|عذرا|عذرًا|نأسف|أعتذر|للأسف).{0,50}(?:لا أستطيع|لا يمكنني|لا أقدر|لن أتمكن|لا نستطيع|غير قادر)",
        r"(?:لا أستطيع|لا يمكنني|لن أتمكن من) (?:مساعد|تقديم|الإجابة|توفير|إنشاء|كتابة|المساعدة)",
    ),
    "fa": (r"(?:متأسفم|متاسفم|ببخشید|پوزش).{0,60}(?:نمی‌توانم|نمی توانم|نمیتوانم)",),
    "hi": (
        r"(?:क्षमा|माफ़|माफ|खेद|दुर्भाग्य).{0,80}(?:नहीं (?:कर|दे|बता|लिख)? ?सकत|असमर्थ)",
        r"मैं .{0,60}(?:मदद|सहायता|जानकारी|प्रदान|उत्तर).{0,20}नहीं (?:कर|दे) सकत",
    ),
    "bn": (r"(?:দুঃখিত|ক্ষমা).{0,80}(?:পারি না|পারব না|পারছি না|সম্ভব নয়)",),
    "th": (
        r"(?:ขอโทษ|ขออภัย|เสียใจ).{0,60}(?:ไม่สามารถ|ไม่ได้)",
        r"(?:ฉัน|ผม|ดิฉัน|เรา)ไม่สามารถ(?:ช่วย|ให้|ตอบ|สนับสนุน)",
    ),
}
"""Language -> patterns, any of which makes a sentence a refusal."""


def is_refusal(text: str) -> bool:
    """Whether one of an answer's first sentences refuses, in any of the languages that are known here."""
    head = text[:HEAD_CHARS].casefold().translate(_PLAIN)
    sentences = [one for one in _SENTENCE_END.split(head) if one.strip()][:MOST_SENTENCES]
    return any(_REFUSAL.search(sentence) for sentence in sentences)


_PLAIN = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "*": None}
)
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।؟])\s*|\n+")
_REFUSAL = re.compile("|".join(f"(?:{phrase})" for phrases in PHRASES.values() for phrase in phrases))
